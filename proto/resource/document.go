package resource

import (
	"fmt"
	"iter"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// Document is one resource of an input, with where it stands.
type Document struct {
	Index int // 1-based, counting the documents that hold something
	Line  int // 1-based line of the input on which it starts
	// Resource is what could be read. It is whole if Broken is false; else it may
	// be nil, or lack what was wrong.
	Resource *fleetv1.Resource
	Broken   bool // a problem was found in it
	Key      Key  // kind and name, as far as they could be read
}

// LineOf is the line on which the field at a path ("spec.endpoints[0].address")
// stands, or the nearest line above it in the document.
func (d *Document) LineOf(fieldPath string) int { return d.Line }

// DecodeOptions say how to read an input.
type DecodeOptions struct {
	File string // for problems; may be empty
	// FilesAllowed permits the fields that name files (chainFile). The caller must
	// resolve them before the resource goes anywhere.
	FilesAllowed bool
}

// Decode reads YAML or JSON, several documents to an input, and tells everything
// that is wrong with it.
func Decode(data []byte, o DecodeOptions) ([]Document, []Problem) {
	return nil, []Problem{{File: o.File, Expected: "a later build: this one cannot decode"}}
}

// AppendYAML appends the text form of r, as YAML.
func AppendYAML(dst []byte, r *fleetv1.Resource) ([]byte, error) {
	return dst, fmt.Errorf("%s: this build cannot print", KeyOf(r))
}

// AppendJSON appends the text form of r, as JSON.
func AppendJSON(dst []byte, r *fleetv1.Resource) ([]byte, error) {
	return dst, fmt.Errorf("%s: this build cannot print", KeyOf(r))
}

// WithDefaults is r with all defaults of the schema applied. r is not changed.
func WithDefaults(r *fleetv1.Resource) *fleetv1.Resource { return r }

// Check tells what is wrong with a resource that came as bytes.
func Check(r *fleetv1.Resource) []Problem { return nil }

// References lists what r refers to, by field path. It leaves out fields and
// kinds that are not supported yet.
func References(r *fleetv1.Resource) iter.Seq2[string, Key] {
	return func(func(string, Key) bool) {}
}

// Dangling reports the references of docs that neither exists nor a document of
// docs declares. Suggestions are made from candidates and the documents' keys.
func Dangling(docs []Document, exists func(Key) bool, candidates ...Key) []Problem {
	return nil
}
