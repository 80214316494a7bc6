// Package resource is the text form, the checks and the canonical bytes of
// resources: what files, REST and gRPC share.
//
// # Model
//
// A resource is a fleetv1.Resource as the user wrote it. It has three forms:
//
//   - text, YAML or JSON: Decode, AppendYAML, AppendJSON. Durations, sizes,
//     rates and percentages are strings with a unit ("1m30s", "64KiB", "30/m",
//     "5%"), enum values bare upper case, names those of the schema in camel case;
//   - the message, with presence for every scalar: unset is not zero;
//   - canonical bytes, deterministic protobuf: Canonical, Parse. They are what is
//     hashed, stored and sent, computed once by the writer.
//
// Everything about fields is read from the descriptors of package fleetv1 and
// their options (options.proto): the format of a string, bounds, what is
// required, what a field refers to, since which schema level it works. What
// options cannot say stands in rules.go. Adding a field to the schema therefore
// adds it here.
//
// Decode goes in three steps, each of which tells problems of its own. An input
// is split at document separators (split.go). A document is parsed into nodes
// with line numbers, by the YAML parser (yaml.go) or, where it looks like JSON,
// by the JSON decoder (json.go). The nodes are turned into a message along the
// schema (decode.go, scalar.go). Then the message is checked (check.go,
// rules.go), by the same rules as Check applies to a message that came as bytes.
//
// # Invariants
//
//   - Decode(AppendYAML(r)) and Decode(AppendJSON(r)) are r, for every r that has
//     a text form and no secret.
//   - What Decode accepts, Check accepts, but for what stands for something else:
//     the names of files, which InlineFiles replaces, and the fingerprint of a
//     key, which Restore does.
//   - A secret (a field with that option) is in no text that AppendYAML and
//     AppendJSON print and in no problem. Only AppendSecretJSON prints it.
//   - All problems of an input are told at once, each with document, line, field,
//     what was got, what was expected and, where something is near, a suggestion.
//     Of one mistake only one problem is told.
//   - What has no behaviour yet is refused (NotSupported), never accepted and
//     ignored. If anything else is wrong with a document, that is told instead. A
//     reference in what is not supported is none.
//   - Anchors, aliases, tags, merge keys, directives and keys that stand twice are
//     refused; so are inputs, texts and nesting beyond the bounds of split.go and
//     shape.go. No input makes the package panic.
//
// # Names
//
// A resource's name is made of lower-case letters, digits, "-" and ".", begins
// and ends with a letter or digit and has at most 253 characters. A label's key
// is a name of at most 63 letters, digits, "-", "_" and ".", after a resource
// name and "/" or alone; its value is the same, or empty. A resource has at most
// 64 labels.
//
// # Ownership
//
// The package is pure and keeps no state. Decode does not keep its input. The
// functions that take a resource do not change it, ApplyDefaults excepted.
package resource
