package resource

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// decoder turns the nodes of one document into a resource. It tells what does
// not fit into the schema's types; whether the values that fit are good is for
// the checker, which reads the resource.
type decoder struct {
	document *Document
	path     path
	problems []Problem
	// reported holds the paths of the values that a problem was told about (true),
	// and of the fields that misspelt ones were meant to be (false).
	reported map[string]bool
}

// full reports whether more was told than anybody hears of.
func (d *decoder) full() bool { return len(d.problems) > maxProblems }

// tell adds a problem about the value at the current path, which is left out.
func (d *decoder) tell(line int32, got, expected, suggestion string) {
	if d.full() {
		return
	}
	d.note(line, got, expected, suggestion)
	d.report(d.path.String(), true)
}

// note adds a problem that leaves the value at the current path as it is.
func (d *decoder) note(line int32, got, expected, suggestion string) {
	d.problems = append(d.problems, Problem{
		File: d.document.file, Document: d.document.Index, Line: int(line), Field: d.path.String(),
		Got: got, Expected: expected, Suggestion: suggestion,
	})
}

func (d *decoder) report(field string, told bool) {
	if d.reported == nil {
		d.reported = map[string]bool{}
	}
	d.reported[field] = d.reported[field] || told
}

func (d *decoder) push(s step) { d.path = append(d.path, s) }
func (d *decoder) pop()        { d.path = d.path[:len(d.path)-1] }

// resource reads a whole document.
func (d *decoder) resource(n *node) {
	if n.kind != nodeMapping {
		expected := "a mapping with kind, name and spec"
		if n.kind == nodeList {
			expected += ": resources stand in documents of their own, with lines of --- between them"
		}
		_, meant := withSpace(n.text)
		d.tell(n.line, n.describe(), expected, meant)
		return
	}
	doc := d.document
	doc.Key.Kind = d.kind(n)
	if e := n.find("name"); e != nil && e.value.isString() && !holdsKey(e.value.text) {
		doc.Key.Name = e.value.text
	}
	r := &fleetv1.Resource{Kind: proto.String(doc.Key.Kind)}
	spec, known := fleetSchema.kinds[doc.Key.Kind]
	if known {
		doc.Resource = r
		r.ProtoReflect().Mutable(spec.desc) // a spec may be left out if all its fields may
	}
	d.eachEntry(n, func(e *entry) {
		switch e.key {
		case "kind":
		case "name":
			if v, ok := d.scalar(fleetSchema.resource.byName["name"], &e.value); ok {
				name := v.String()
				r.Name = &name
			}
		case "labels":
			d.dict(fleetSchema.resource.byName["labels"], &e.value, r.ProtoReflect())
		case "spec":
			if known {
				d.message(spec.message, &e.value, r.ProtoReflect().Mutable(spec.desc).Message())
			}
		default:
			d.unknownTop(e, spec)
		}
	})
}

// kind reads which schema the document follows.
func (d *decoder) kind(n *node) string {
	e := n.find("kind")
	line, got, near := n.line, "no kind", ""
	if e == nil && slices.ContainsFunc(n.entries, func(e entry) bool { return topMeant(e.key) == "kind" }) {
		return "" // unknownTop tells
	}
	if e != nil {
		if _, ok := fleetSchema.kinds[e.value.text]; ok && e.value.isString() {
			return e.value.text
		}
		if e.value.kind == nodeRefused {
			return "" // eachEntry tells
		}
		line, got = e.line, e.value.describe()
		if near = kindHint(e.value.text); near == "" {
			near = Nearest(e.value.text, kindNames())
		}
	}
	d.push(step{key: "kind"})
	d.tell(line, got, "one of "+strings.Join(kindNames(), ", "), near)
	d.pop()
	return ""
}

func kindNames() []string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Kind)
	}
	return names
}

// topFields are the fields of every document.
func topFields() []string { return []string{"kind", "name", "labels", "spec"} }

// topMeant is which of them a key was meant to be, or "".
func topMeant(key string) string {
	if near := Nearest(key, topFields()); near != "" {
		return near
	}
	if near := fieldHint("Resource", key); slices.Contains(topFields(), near) {
		return near
	}
	return ""
}

// unknownTop tells of a field beside kind, name, labels and spec. The one that was meant
// is not told to be missing.
func (d *decoder) unknownTop(e *entry, spec *fieldSchema) {
	expected, near := "one of "+strings.Join(topFields(), ", "), topMeant(e.key)
	if d.spaceless(e, func(name string) bool { return slices.Contains(topFields(), name) }, expected) {
		return
	}
	switch {
	case near != "":
		d.report(near, false)
	case spec != nil && spec.message.byName[e.key] != nil:
		near = "spec." + e.key
		d.report(near, false)
	case fold(e.key) == "apiversion":
		expected = strings.Join(topFields(), ", ") + " alone: resources have no version"
	default:
		near = fieldHint("Resource", e.key)
		if fold(e.key) == "metadata" {
			d.report("name", false)
		}
	}
	d.tell(e.line, "an unknown field", expected, near)
}

// spaceless tells of a key such as prefix:/a, which has no value and begins with the name of
// a field. That field is not told to be missing.
func (d *decoder) spaceless(e *entry, isField func(string) bool, expected string) bool {
	name, meant := withSpace(e.key)
	if e.value.kind != nodeNull || name == "" || !isField(name) {
		return false
	}
	d.path[len(d.path)-1].key = name
	d.tell(e.line, closeKey(e.key), expected, meant)
	return true
}

// smallMapping is up to how many keys of a mapping are compared one by one.
const smallMapping = 16

// eachEntry visits the pairs of a mapping, with the path of each. It tells of
// keys that stand there twice, and of values that no resource may have, and
// leaves them out.
func (d *decoder) eachEntry(n *node, visit func(*entry)) {
	var index map[string]*entry
	if len(n.entries) > smallMapping {
		index = make(map[string]*entry, len(n.entries))
	}
	for i := range n.entries {
		if d.full() {
			return
		}
		e := &n.entries[i]
		first := e
		switch {
		case index == nil:
			first = n.find(e.key)
		case index[e.key] == nil:
			index[e.key] = e
		default:
			first = index[e.key]
		}
		d.push(step{key: e.key})
		switch {
		case e.value.kind == nodeRefused:
			d.tell(e.line, e.value.text, "the value itself: anchors, aliases, tags, merge keys and directives are refused", e.value.inQuotes())
		case first != e:
			d.note(e.line, "the key "+clip(e.key)+" again", fmt.Sprintf("each key once; the first is on line %d", first.line), "")
		default:
			visit(e)
		}
		d.pop()
	}
}

// message reads a mapping into m.
func (d *decoder) message(ms *messageSchema, n *node, m protoreflect.Message) {
	if n.kind != nodeMapping {
		name, meant := withSpace(n.text)
		if ms.byName[name] == nil {
			meant = ""
		}
		d.tell(n.line, n.describe(), "a mapping with "+strings.Join(ms.names(), ", "), meant)
		return
	}
	d.eachEntry(n, func(e *entry) {
		if f, ok := ms.byName[e.key]; ok {
			d.field(f, &e.value, m)
		} else {
			d.unknown(ms, e)
		}
	})
}

// names lists the fields of a message that may be used: the supported ones, if
// there are any.
func (ms *messageSchema) names() []string {
	var all, supported []string
	for _, f := range ms.fields {
		all = append(all, f.name)
		if f.supported {
			supported = append(supported, f.name)
		}
	}
	if len(supported) > 0 {
		return supported
	}
	return all
}

// unknown tells of a field that the message does not have.
func (d *decoder) unknown(ms *messageSchema, e *entry) {
	all := make([]string, 0, len(ms.fields))
	for _, f := range ms.fields {
		all = append(all, f.name)
	}
	expected := "one of " + strings.Join(ms.names(), ", ")
	if d.spaceless(e, func(name string) bool { return ms.byName[name] != nil }, expected) {
		return
	}
	meant := sameFolded(e.key, all)
	if meant == "" {
		meant = fieldHint(ms.name, e.key)
	}
	if meant == "" {
		meant = elsewhere(d.document.Key.Kind, e.key)
	}
	if meant == "" {
		meant = Nearest(e.key, all)
	}
	if ms.byName[meant] != nil {
		d.report(append(slices.Clone(d.path[:len(d.path)-1]), step{key: meant}).String(), false)
	}
	d.tell(e.line, "an unknown field", expected, meant)
}

// elsewhere finds a field of exactly that name in another place of the kind.
func elsewhere(kind, name string) string {
	spec := fleetSchema.kinds[kind]
	if spec == nil {
		return ""
	}
	type place struct {
		path    string
		message *messageSchema
	}
	// Breadth first: the highest place is the likeliest. Messages do not contain
	// themselves, so this ends.
	for places := []place{{"spec", spec.message}}; len(places) > 0; places = places[1:] {
		p := places[0]
		if p.message.byName[name] != nil {
			return p.path + "." + name
		}
		for _, f := range p.message.fields {
			if f.message != nil && !f.rate && !f.list && f.supported {
				places = append(places, place{p.path + "." + f.name, f.message})
			}
		}
	}
	return ""
}

// field reads a value into one field of m.
func (d *decoder) field(f *fieldSchema, n *node, m protoreflect.Message) {
	switch {
	case f.dict:
		d.dict(f, n, m)
	case f.list:
		d.list(f, n, m)
	case f.rate:
		d.rate(n, m.Mutable(f.desc).Message().Interface().(*fleetv1.Rate))
	case f.message != nil:
		d.message(f.message, n, m.Mutable(f.desc).Message())
	default:
		if v, ok := d.scalar(f, n); ok {
			m.Set(f.desc, v)
		}
	}
}

func (d *decoder) list(f *fieldSchema, n *node, m protoreflect.Message) {
	if n.kind != nodeList {
		near := ""
		if n.isString() && f.message == nil {
			near = "[" + n.text + "]"
		}
		expected := "a list"
		if f.message != nil && !f.rate {
			expected = "a list of mappings with " + strings.Join(f.message.names(), ", ")
		}
		d.tell(n.line, n.describe(), expected, clip(near))
		return
	}
	l := m.Mutable(f.desc).List()
	for i := range n.entries {
		if d.full() {
			return
		}
		d.push(step{index: i})
		if f.message != nil {
			d.message(f.message, &n.entries[i].value, l.AppendMutable().Message())
		} else {
			v, ok := d.scalar(f, &n.entries[i].value)
			if !ok {
				v = l.NewElement() // keeps the places of the others
			}
			l.Append(v)
		}
		d.pop()
	}
}

func (d *decoder) dict(f *fieldSchema, n *node, m protoreflect.Message) {
	if n.kind != nodeMapping {
		d.tell(n.line, n.describe(), "a mapping of names to strings", "")
		return
	}
	if len(n.entries) == 0 {
		return
	}
	dict := m.Mutable(f.desc).Map()
	d.eachEntry(n, func(e *entry) {
		if v, ok := d.text(f, &e.value); ok {
			dict.Set(protoreflect.ValueOfString(e.key).MapKey(), v)
		}
	})
}

func (d *decoder) rate(n *node, r *fleetv1.Rate) {
	near := nearRate(n.text)
	if n.isString() {
		count, per, meant, ok := parseRate(n.text)
		if ok {
			r.Count, r.Per = &count, &per
			return
		}
		near = meant
	}
	d.tell(n.line, n.describe(), "a rate such as 1000/s or 30/m", near)
}
