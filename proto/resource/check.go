package resource

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// Check tells what is wrong with a resource that came as bytes: all that Decode
// tells of a text but what only a text can have. Fields that exist in files only
// are refused. As with Decode, what is not supported yet is told only if nothing
// else is wrong.
func Check(r *fleetv1.Resource) []Problem {
	var c checker
	c.resource(r)
	problems := c.values
	if len(problems) == 0 {
		problems = c.unsupported
	}
	for i := range problems {
		problems[i].Kind, problems[i].Name = r.GetKind(), r.GetName()
	}
	return problems
}

// checker walks a resource along its schema.
type checker struct {
	filesAllowed bool
	standIns     bool            // a key's fingerprint may stand in its place
	reported     map[string]bool // as the decoder left it
	path         path
	hidden       int // how many enclosing fields are not supported
	values       []Problem
	unsupported  []Problem
}

func (c *checker) push(s step) { c.path = append(c.path, s) }
func (c *checker) pop()        { c.path = c.path[:len(c.path)-1] }

// tell adds a problem about the value at the current path, unless the decoder
// has told one there.
func (c *checker) tell(got, expected, suggestion string) {
	if len(c.values) > maxProblems {
		return // nobody hears of more
	}
	field := c.path.String()
	if c.reported[field] {
		return
	}
	c.values = append(c.values, Problem{Field: field, Got: got, Expected: expected, Suggestion: suggestion})
}

// tellAt is tell for a field below the current path.
func (c *checker) tellAt(field, got, expected, suggestion string) {
	c.push(step{key: field})
	c.tell(got, expected, suggestion)
	c.pop()
}

// notSupported notes that what stands at the current path has no behaviour yet.
func (c *checker) notSupported(got string) {
	if c.hidden == 0 && len(c.unsupported) <= maxProblems {
		c.unsupported = append(c.unsupported, Problem{Field: c.path.String(), Got: got, Expected: NotSupported})
	}
}

// present reports whether a field is set, or was meant to be.
func (c *checker) present(f *fieldSchema, m protoreflect.Message) bool {
	if m.Has(f.desc) {
		return true
	}
	if len(c.reported) == 0 {
		return false
	}
	c.push(step{key: f.name})
	defer c.pop()
	return c.meant(c.path.String())
}

// meant reports whether a field was meant to be set, by a misspelt one.
func (c *checker) meant(field string) bool {
	_, meant := c.reported[field]
	return meant
}

// told reports whether the decoder has told that the value at the current path
// is none: then there is nothing in it to check.
func (c *checker) told() bool { return len(c.reported) > 0 && c.reported[c.path.String()] }

func (c *checker) resource(r *fleetv1.Resource) {
	c.path = make(path, 0, 8)
	c.name(r)
	if len(r.GetLabels()) > 0 {
		c.push(step{key: "labels"})
		c.labels(r.GetLabels())
		c.pop()
	}
	spec, m := fleetSchema.kindOf(r)
	if spec == nil || spec.message.name != r.GetKind() {
		c.tellAt("kind", quote(r.GetKind()), "the kind of the spec: "+strings.Join(kindNames(), ", "), "")
		return
	}
	if !spec.supported {
		c.push(step{key: "kind"})
		c.notSupported(r.GetKind())
		c.pop()
		c.hidden++
	}
	if c.meant("spec") {
		return // what it holds stands elsewhere
	}
	c.push(step{key: "spec"})
	c.message(spec.message, m)
	c.pop()
}

func (c *checker) name(r *fleetv1.Resource) {
	if r.Name == nil {
		if !c.meant("name") {
			c.tellAt("name", "no name", nameExpected, "")
		}
	} else if bad := checkName(r.GetName()); bad != nil {
		c.tellAt("name", quote(r.GetName()), bad.expected, bad.suggestion)
	}
}

func (c *checker) message(ms *messageSchema, m protoreflect.Message) {
	if c.told() {
		return
	}
	for _, f := range ms.fields {
		if m.Has(f.desc) {
			c.push(step{key: f.name})
			c.field(f, m.Get(f.desc))
			c.pop()
		} else if f.required && !c.present(f, m) {
			c.missing(f)
		}
	}
	for _, r := range ms.rules {
		r(c, ms, m)
	}
}

func (c *checker) missing(f *fieldSchema) {
	switch {
	case f.list:
		c.tellAt(f.name, "none", "at least one", "")
	case f.rate:
		c.tellAt(f.name, "nothing", "a rate such as 1000/s or 30/m", "")
	default:
		c.tellAt(f.name, "nothing", f.expects(), "")
	}
}

func (c *checker) field(f *fieldSchema, v protoreflect.Value) {
	if !f.supported && !f.fileOnly {
		c.notSupported(f.name)
		c.hidden++
		defer func() { c.hidden-- }()
	}
	if f.fileOnly && !c.filesAllowed {
		c.tell("a file's name", "its content: "+f.name+" is for files that a client reads", strings.TrimSuffix(f.name, "File"))
		return
	}
	switch {
	case f.dict:
		c.dict(f, v.Map())
	case f.list:
		l := v.List()
		for i := range l.Len() {
			c.push(step{index: i})
			c.value(f, l.Get(i))
			c.pop()
		}
	default:
		c.value(f, v)
	}
}

// value checks one value of a field, or of its list.
func (c *checker) value(f *fieldSchema, v protoreflect.Value) {
	switch {
	case f.rate:
		c.rate(v.Message().Interface().(*fleetv1.Rate))
	case f.message != nil:
		c.message(f.message, v.Message())
	case f.enum != nil:
		c.enum(f, v.Enum())
	case f.kind == protoreflect.StringKind:
		c.text(f, v.String())
	case f.kind == protoreflect.BoolKind:
	default:
		if !f.inRange(v) {
			text, _ := f.formatScalar(v)
			c.tell(text, f.expects(), "")
		}
	}
}

func (c *checker) rate(r *fleetv1.Rate) {
	if text, ok := formatRate(r); !ok || r.GetCount() == 0 {
		c.tell(text, "a rate such as 1000/s or 30/m, above 0", "")
	}
}

func (c *checker) enum(f *fieldSchema, n protoreflect.EnumNumber) {
	value := f.desc.Enum().Values().ByNumber(n)
	switch {
	case n == 0 || value == nil:
		c.tell(fmt.Sprintf("number %d", n), f.expects()+": it may need a newer schema", "")
	case !f.enum.supported[n]:
		c.notSupported(string(value.Name()))
	}
}

func (c *checker) text(f *fieldSchema, s string) {
	bad := checkFormat(f.format, s)
	if f.ref != "" {
		bad = checkName(s)
		if bad != nil {
			bad.expected = f.expects()
		}
	}
	if bad != nil {
		c.tell(quote(s), bad.expected, bad.suggestion)
		return
	}
	if f.format == fleetv1.Format_LISTEN_ADDRESS && strings.HasPrefix(s, "vip/") && !fleetSchema.kinds[VirtualIP].supported {
		c.notSupported(s)
	}
}

// inRange also refuses what text cannot say: negative durations and
// percentages, and numbers that are none.
func (f *fieldSchema) inRange(v protoreflect.Value) bool {
	switch f.kind {
	case protoreflect.DoubleKind:
		x := v.Float()
		if math.IsNaN(x) || math.IsInf(x, 0) || f.format == fleetv1.Format_PERCENT && math.Signbit(x) {
			return false
		}
		return (f.min == nil || x >= float64(*f.min)) && (f.max == nil || x <= float64(*f.max))
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		x := v.Uint()
		return (f.min == nil || x >= uint64(*f.min)) && (f.max == nil || x <= uint64(*f.max))
	default:
		x := v.Int()
		if f.format == fleetv1.Format_DURATION && x < 0 {
			return false
		}
		return (f.min == nil || x >= *f.min) && (f.max == nil || x <= *f.max)
	}
}

// dict checks a map: fields of HTTP messages if it has that format, labels else.
func (c *checker) dict(f *fieldSchema, m protoreflect.Map) {
	pairs := make(map[string]string, m.Len())
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		pairs[k.String()] = v.String()
		return true
	})
	if f.format != fleetv1.Format_FIELD_VALUE {
		c.labels(pairs)
		return
	}
	folded := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		c.push(step{key: name})
		c.httpField(name, pairs[name])
		if first, again := folded[strings.ToLower(name)]; again {
			c.tell("the field again", "each field once, in whatever case; the first is "+first, "")
		}
		folded[strings.ToLower(name)] = name
		c.pop()
	}
}

// httpField checks a field that a resource puts into messages.
func (c *checker) httpField(name, value string) {
	if bad := checkFormat(fleetv1.Format_FIELD_NAME, name); bad != nil {
		c.tell(quote(name), bad.expected, bad.suggestion)
		return
	}
	if bad := checkFormat(fleetv1.Format_FIELD_VALUE, value); bad != nil {
		c.tell(quote(value), bad.expected, bad.suggestion)
	}
}

// labels checks the labels of a resource, or those that a selector asks for.
func (c *checker) labels(labels map[string]string) {
	if len(labels) > maxLabels {
		c.tell(fmt.Sprintf("%d labels", len(labels)), fmt.Sprintf("at most %d", maxLabels), "")
	}
	good := true
	for key, value := range labels {
		good = good && checkLabelKey(key) == nil && checkLabelValue(value) == nil
	}
	if good {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		c.push(step{key: key})
		if bad := checkLabelKey(key); bad != nil {
			c.tell(quote(key), bad.expected, bad.suggestion)
		} else if bad := checkLabelValue(labels[key]); bad != nil {
			c.tell(quote(labels[key]), bad.expected, bad.suggestion)
		}
		c.pop()
	}
}
