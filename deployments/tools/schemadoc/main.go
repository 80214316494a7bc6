// Command schemadoc writes docs/RESOURCES.md from the protobuf schema: its
// comments, and the options by which decoding refuses and explains. It reads what
// `buf build -o -` prints, from standard input.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "schemadoc:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	image, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(image, &set); err != nil {
		return err
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return err
	}
	root, err := files.FindDescriptorByName("fleet.v1.Resource")
	if err != nil {
		return err
	}
	p := &page{told: map[protoreflect.FullName]bool{}}
	p.write(root.(protoreflect.MessageDescriptor))
	if len(p.silent) > 0 {
		return fmt.Errorf("no comment says what these fields are: %s", strings.Join(p.silent, ", "))
	}
	_, err = io.WriteString(out, p.text.String())
	return err
}

// page is the document under way.
type page struct {
	text strings.Builder
	told map[protoreflect.FullName]bool
	next []protoreflect.MessageDescriptor // messages that the kind at hand refers to
	// silent are fields that a build takes, that hold no message with a comment of its
	// own, and of which nothing is said.
	silent []string
}

const preamble = `# Resources

Made from the schema (proto/fleet/v1/resource.proto) by ` + "`make generate`" + `; do not edit.

A resource is a YAML document (or a JSON object) with ` + "`kind`, `name`, optional `labels`, and `spec`" + `.
Durations read ` + "`500ms`, `2s`, `1m30s`" + `; sizes ` + "`64KiB`, `1MiB`" + ` or a number of bytes; rates
` + "`1000/s`, `30/m`" + `; percentages ` + "`5%`" + `. Values of enums are bare upper case. What is not set has
the default that is told. **Not yet**: this build refuses the field or the value by name.
`

func (p *page) write(root protoreflect.MessageDescriptor) {
	p.text.WriteString(preamble)
	kinds := root.Oneofs().ByName("spec").Fields()
	for i := range kinds.Len() {
		kind := kinds.Get(i).Message()
		p.message("##", kind, proto.GetExtension(kind.Options(), fleetv1.E_KindSince).(uint32))
		for len(p.next) > 0 {
			m := p.next[0]
			p.next = p.next[1:]
			p.message("###", m, resource.SchemaLevel)
		}
	}
}

// message tells a message once, with a table of its fields.
func (p *page) message(level string, m protoreflect.MessageDescriptor, since uint32) {
	if p.told[m.FullName()] {
		return
	}
	p.told[m.FullName()] = true
	fmt.Fprintf(&p.text, "\n%s %s\n\n", level, title(m))
	if c := comment(m); c != "" {
		p.text.WriteString(c + "\n\n")
	}
	if since == 0 || since > resource.SchemaLevel {
		p.text.WriteString("**Not yet**: no build takes this kind.\n\n")
	}
	if m.Fields().Len() == 0 {
		return
	}
	p.text.WriteString("| field | type | |\n|---|---|---|\n")
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		fmt.Fprintf(&p.text, "| `%s` | %s | %s |\n", f.JSONName(), p.kindOf(f), p.about(f))
		if sub := subject(f); sub != nil && sub.FullName() != "fleet.v1.Rate" {
			p.next = append(p.next, sub)
		}
	}
}

// title is a message's name, with that of the message that it is nested in.
func title(m protoreflect.MessageDescriptor) string {
	return strings.TrimPrefix(string(m.FullName()), "fleet.v1.")
}

// subject is the message that a field holds, if it is one of ours.
func subject(f protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if f.IsMap() || f.Kind() != protoreflect.MessageKind {
		return nil
	}
	return f.Message()
}

func option[T any](f protoreflect.FieldDescriptor, x protoreflect.ExtensionType) T {
	return proto.GetExtension(f.Options(), x).(T)
}

var formats = map[fleetv1.Format]string{
	fleetv1.Format_DURATION: "duration", fleetv1.Format_SIZE: "size", fleetv1.Format_PERCENT: "percentage",
	fleetv1.Format_ENDPOINT_ADDRESS: "address", fleetv1.Format_CIDR: "IP prefix", fleetv1.Format_REGEX: "RE2",
	fleetv1.Format_HOST_PATTERN: "host", fleetv1.Format_FIELD_NAME: "field name", fleetv1.Format_FIELD_VALUE: "field value",
	fleetv1.Format_METHOD: "method", fleetv1.Format_PATH: "path", fleetv1.Format_LISTEN_ADDRESS: "listen address",
	fleetv1.Format_RETRY_CONDITION: "condition",
}

// kindOf is a field's type as people write it.
func (p *page) kindOf(f protoreflect.FieldDescriptor) string {
	if f.IsMap() {
		return "map of texts"
	}
	var name string
	switch {
	case formats[option[fleetv1.Format](f, fleetv1.E_Format)] != "":
		name = formats[option[fleetv1.Format](f, fleetv1.E_Format)]
	case option[string](f, fleetv1.E_Ref) != "":
		name = "name of " + article(option[string](f, fleetv1.E_Ref))
	case f.Kind() == protoreflect.EnumKind:
		name = values(f.Enum())
	case f.Kind() == protoreflect.MessageKind && f.Message().FullName() == "fleet.v1.Rate":
		name = "rate"
	case f.Kind() == protoreflect.MessageKind:
		name = title(f.Message())
	case f.Kind() == protoreflect.StringKind:
		name = "text"
	case f.Kind() == protoreflect.BoolKind:
		name = "true or false"
	default:
		name = "number"
	}
	if f.IsList() {
		return "list of " + name
	}
	return name
}

// article puts one before a kind's name.
func article(kind string) string {
	if strings.ContainsRune("AEIOU", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}

// values lists the values of an enum; those that no build takes are told apart.
func values(e protoreflect.EnumDescriptor) string {
	var now, later []string
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		since := proto.GetExtension(v.Options(), fleetv1.E_ValueSince).(uint32)
		switch {
		case v.Number() == 0:
		case since > 0 && since <= resource.SchemaLevel:
			now = append(now, "`"+string(v.Name())+"`")
		default:
			later = append(later, "`"+string(v.Name())+"`")
		}
	}
	text := strings.Join(now, ", ")
	if len(later) > 0 {
		if text != "" {
			text += "; "
		}
		text += "not yet: " + strings.Join(later, ", ")
	}
	return text
}

// about is what the comment and the options say of a field.
func (p *page) about(f protoreflect.FieldDescriptor) string {
	var parts []string
	since := option[uint32](f, fleetv1.E_Since)
	taken := since > 0 && since <= resource.SchemaLevel
	if !taken {
		parts = append(parts, "**Not yet.**")
	}
	if option[bool](f, fleetv1.E_Required) {
		parts = append(parts, "Required.")
	}
	c := comment(f)
	if c != "" {
		parts = append(parts, strings.ReplaceAll(c, "\n", " "))
	}
	if sub := subject(f); taken && c == "" && (sub == nil || comment(sub) == "") {
		p.silent = append(p.silent, strings.TrimPrefix(string(f.FullName()), "fleet.v1."))
	}
	if f.Kind() == protoreflect.EnumKind {
		parts = append(parts, meanings(f.Enum())...)
	}
	if proto.HasExtension(f.Options(), fleetv1.E_Max) && !proto.HasExtension(f.Options(), fleetv1.E_Format) {
		parts = append(parts, fmt.Sprintf("At most %d.", option[int64](f, fleetv1.E_Max)))
	}
	return strings.NewReplacer("|", "\\|", "<", "&lt;").Replace(strings.Join(parts, " "))
}

// meanings is what the comments of an enum's values say, of those that builds take.
func meanings(e protoreflect.EnumDescriptor) (parts []string) {
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		c := comment(v)
		since := proto.GetExtension(v.Options(), fleetv1.E_ValueSince).(uint32)
		if c != "" && since > 0 && since <= resource.SchemaLevel {
			parts = append(parts, "`"+string(v.Name())+"`: "+strings.ReplaceAll(c, "\n", " "))
		}
	}
	return parts
}

// comment is what stands above a declaration.
func comment(d protoreflect.Descriptor) string {
	text := d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
