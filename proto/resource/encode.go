package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// AppendYAML appends r as one YAML document in block style, without a separator.
// The fields stand in the order of the schema: kind, name, labels, spec. Decode
// reads the same resource back, but for what is secret: a key is not printed, its
// fingerprint stands in its place.
//
// It fails for what has no text form: a resource without a spec or with one of
// another kind, numbers outside of an enum, strings that are not UTF-8.
func AppendYAML(dst []byte, r *fleetv1.Resource) ([]byte, error) {
	root, err := textForm(shown(r))
	if err != nil {
		return dst, err
	}
	return appendBlock(dst, &root, 0), nil
}

// AppendJSON appends r as one JSON object without white space: the same text
// form as AppendYAML, and the same errors.
func AppendJSON(dst []byte, r *fleetv1.Resource) ([]byte, error) {
	root, err := textForm(shown(r))
	if err != nil {
		return dst, err
	}
	return appendFlow(dst, &root), nil
}

// AppendSecretJSON is AppendJSON with what is secret. It is for sending a resource
// to where it is kept, and never for people or logs.
func AppendSecretJSON(dst []byte, r *fleetv1.Resource) ([]byte, error) {
	root, err := textForm(r)
	if err != nil {
		return dst, err
	}
	return appendFlow(dst, &root), nil
}

// AppendSecretYAML is AppendYAML with what is secret, under the conditions of
// AppendSecretJSON: Decode reads the very same resource back.
func AppendSecretYAML(dst []byte, r *fleetv1.Resource) ([]byte, error) {
	root, err := textForm(r)
	if err != nil {
		return dst, err
	}
	return appendBlock(dst, &root, 0), nil
}

// textForm turns a resource into the nodes that Decode would make of its text.
// Numbers and booleans have the kind nodeInt, strings nodeString.
func textForm(r *fleetv1.Resource) (node, error) {
	spec, m := fleetSchema.kindOf(r)
	if spec == nil || spec.message.name != r.GetKind() {
		return node{}, fmt.Errorf("%s: its spec is not that of its kind", KeyOf(r))
	}
	w := textWriter{}
	root := node{kind: nodeMapping}
	root.entries = append(root.entries, entry{key: "kind", value: w.str(r.GetKind())})
	if r.Name != nil {
		root.entries = append(root.entries, entry{key: "name", value: w.str(r.GetName())})
	}
	if len(r.GetLabels()) > 0 {
		root.entries = append(root.entries, entry{key: "labels", value: w.dict(r.GetLabels())})
	}
	root.entries = append(root.entries, entry{key: "spec", value: w.message(spec.message, m)})
	if w.bad != "" {
		return node{}, fmt.Errorf("%s: %s", KeyOf(r), w.bad)
	}
	return root, nil
}

// textWriter makes nodes, and remembers what has no text form.
type textWriter struct {
	bad string
}

func (w *textWriter) str(s string) node {
	if !utf8.ValidString(s) {
		w.bad = fmt.Sprintf("%q is not UTF-8", clip(s))
	}
	return node{kind: nodeString, text: s}
}

func (w *textWriter) dict(m map[string]string) node {
	n := node{kind: nodeMapping}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.str(k)
		n.entries = append(n.entries, entry{key: k, value: w.str(m[k])})
	}
	return n
}

func (w *textWriter) message(ms *messageSchema, m protoreflect.Message) node {
	n := node{kind: nodeMapping}
	for _, f := range ms.fields {
		if m.Has(f.desc) {
			n.entries = append(n.entries, entry{key: f.name, value: w.field(f, m.Get(f.desc))})
		}
	}
	return n
}

func (w *textWriter) field(f *fieldSchema, v protoreflect.Value) node {
	switch {
	case f.dict:
		pairs := make(map[string]string, v.Map().Len())
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			pairs[k.String()] = v.String()
			return true
		})
		return w.dict(pairs)
	case f.list:
		n := node{kind: nodeList}
		for i := range v.List().Len() {
			n.entries = append(n.entries, entry{value: w.value(f, v.List().Get(i))})
		}
		return n
	default:
		return w.value(f, v)
	}
}

func (w *textWriter) value(f *fieldSchema, v protoreflect.Value) node {
	switch {
	case f.rate:
		text, ok := formatRate(v.Message().Interface().(*fleetv1.Rate))
		if !ok {
			w.bad = "a rate that is not per second, minute or hour"
		}
		return node{kind: nodeString, text: text}
	case f.message != nil:
		return w.message(f.message, v.Message())
	case f.enum != nil && (v.Enum() == 0 || f.desc.Enum().Values().ByNumber(v.Enum()) == nil):
		w.bad = fmt.Sprintf("%s: %d is none of its values", f.name, v.Enum())
	case f.kind == protoreflect.StringKind:
		return w.str(v.String())
	}
	text, bare := f.formatScalar(v)
	if !f.inSign(v) {
		w.bad = f.name + ": " + text + " has no text form"
	}
	if bare {
		return node{kind: nodeInt, text: text}
	}
	return node{kind: nodeString, text: text}
}

// inSign is false for numbers that no text says: negative durations and
// percentages, and doubles that are no numbers.
func (f *fieldSchema) inSign(v protoreflect.Value) bool {
	free := *f
	free.min, free.max = nil, nil
	return f.enum != nil || f.kind == protoreflect.BoolKind || free.inRange(v)
}

// appendFlow writes a node as JSON.
func appendFlow(dst []byte, n *node) []byte {
	switch n.kind {
	case nodeMapping:
		dst = append(dst, '{')
		for i := range n.entries {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendQuoted(dst, n.entries[i].key)
			dst = append(dst, ':')
			dst = appendFlow(dst, &n.entries[i].value)
		}
		return append(dst, '}')
	case nodeList:
		dst = append(dst, '[')
		for i := range n.entries {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendFlow(dst, &n.entries[i].value)
		}
		return append(dst, ']')
	case nodeInt:
		return append(dst, n.text...)
	default:
		return appendQuoted(dst, n.text)
	}
}

// appendBlock writes a mapping or a list in block style, each line indented.
func appendBlock(dst []byte, n *node, indent int) []byte {
	for i := range n.entries {
		e := &n.entries[i]
		dst = appendIndent(dst, indent)
		if n.kind == nodeMapping {
			dst = appendScalar(dst, e.key, indent, false)
			dst = append(dst, ':')
		} else {
			dst = append(dst, '-')
		}
		dst = appendValue(dst, &e.value, indent, n.kind == nodeList)
	}
	return dst
}

// appendValue writes what follows a key's colon or an element's dash.
func appendValue(dst []byte, n *node, indent int, element bool) []byte {
	switch {
	case n.kind == nodeMapping && len(n.entries) == 0:
		return append(dst, " {}\n"...)
	case n.kind == nodeList && len(n.entries) == 0:
		return append(dst, " []\n"...)
	case n.kind == nodeMapping && element:
		// The first key stands on the line of the dash.
		inner := appendBlock(nil, n, indent+2)
		return append(append(dst, ' '), inner[indent+2:]...)
	case n.kind == nodeMapping || n.kind == nodeList:
		return appendBlock(append(dst, '\n'), n, indent+2)
	case n.kind == nodeInt:
		return append(append(append(dst, ' '), n.text...), '\n')
	default:
		dst = appendScalar(append(dst, ' '), n.text, indent+2, true)
		if dst[len(dst)-1] != '\n' { // a block scalar ends its line itself
			dst = append(dst, '\n')
		}
		return dst
	}
}

func appendIndent(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, ' ')
	}
	return dst
}

// appendScalar writes a string: plain if no reader of YAML 1.1 or 1.2 can take
// it for anything else, as a block if it has lines to show, quoted otherwise.
func appendScalar(dst []byte, s string, indent int, blockAllowed bool) []byte {
	switch {
	case isPlain(s):
		return append(dst, s...)
	case blockAllowed && isBlock(s):
		dst = append(dst, "|\n"...)
		for line := range strings.Lines(s) {
			if line != "\n" {
				dst = appendIndent(dst, indent)
			}
			dst = append(dst, line...)
		}
		return dst
	default:
		return appendQuoted(dst, s)
	}
}

// isPlain is narrower than YAML: words, names, paths, quantities, addresses.
func isPlain(s string) bool {
	if s == "" || len(s) > 256 || !isAlnum(s[0]) && s[0] != '/' || s[len(s)-1] == ':' {
		return false
	}
	if !onlyBytes(s, func(c byte) bool { return isAlnum(c) || strings.IndexByte("-_./:%", c) >= 0 }) {
		return false
	}
	if isDigit(s[0]) {
		return isQuantity(s)
	}
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return false
	}
	return true
}

// isQuantity accepts text that begins with a digit, ends with a unit or has the
// shape of an address, and that no version of YAML reads as a number or a date.
func isQuantity(s string) bool {
	if plainKind(s) != nodeString {
		return false
	}
	if s[len(s)-1] == '%' {
		return onlyBytes(s[:len(s)-1], func(c byte) bool { return isDigit(c) || c == '.' })
	}
	if strings.Count(s, ".") == 3 {
		return onlyBytes(s, func(c byte) bool { return isDigit(c) || c == '.' || c == '/' || c == ':' })
	}
	if _, _, ok := parseDuration(s); ok {
		return true
	}
	if _, _, ok := parseSize(s); ok {
		return true
	}
	_, _, _, ok := parseRate(s)
	return ok
}

// isBlock accepts text of several lines that a literal block scalar keeps as it
// is (YAML 1.2.2 section 8.1.2): printable, ending with one line break, neither
// beginning with a space nor with spaces before a line break.
func isBlock(s string) bool {
	body, ends := strings.CutSuffix(s, "\n")
	if !ends || body == "" || body[0] == ' ' || body[0] == '\n' || body[len(body)-1] == '\n' || !strings.Contains(body, "\n") {
		return false
	}
	if strings.Contains(s, " \n") {
		return false
	}
	return onlyBytes(body, func(c byte) bool { return c >= ' ' && c < 0x7f || c == '\n' })
}

// appendQuoted writes a string of JSON, which is a double-quoted scalar of YAML
// too (YAML 1.2.2 section 7.3.1). What a terminal or an editor would not show is
// escaped.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
