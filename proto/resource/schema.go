package resource

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// schema is what the descriptors and their options say, laid out for walking.
// It is built once and never changes.
type schema struct {
	resource *messageSchema
	kinds    map[string]*fieldSchema // the spec field of each kind
	names    map[string]bool         // of all fields that files may hold
}

// messageSchema is one message.
type messageSchema struct {
	desc     protoreflect.MessageDescriptor
	name     string         // "Route"
	fields   []*fieldSchema // in the order of the .proto file
	byNumber []*fieldSchema // by field number; nil where there is none
	byName   map[string]*fieldSchema
	rules    []rule // what the options cannot say
	hasRefs  bool   // a field in it or below names another resource
}

// fieldSchema is one field.
type fieldSchema struct {
	desc      protoreflect.FieldDescriptor
	name      string // as files write it: "clientIP"
	kind      protoreflect.Kind
	list      bool
	dict      bool // map<string, string>
	rate      bool // a Rate message, written "1000/s"
	format    fleetv1.Format
	ref       string
	min, max  *int64
	required  bool
	fileOnly  bool
	secret    bool // written and never shown
	supported bool
	message   *messageSchema // of a message, and of the messages of a list
	enum      *enumSchema
}

// enumSchema is one enum.
type enumSchema struct {
	values    []protoreflect.EnumValueDescriptor // without the unspecified zero
	supported map[protoreflect.EnumNumber]bool
}

// fleetSchema is the schema of this build. It is immutable: the descriptors are
// compiled in.
var fleetSchema = buildSchema()

func buildSchema() *schema {
	known := map[protoreflect.FullName]*messageSchema{}
	s := &schema{
		resource: buildMessage((&fleetv1.Resource{}).ProtoReflect().Descriptor(), known),
		kinds:    map[string]*fieldSchema{},
		names:    map[string]bool{},
	}
	for _, m := range known {
		for name := range m.byName {
			s.names[name] = true
		}
	}
	for _, name := range topFields() {
		s.names[name] = true
	}
	for _, f := range s.resource.fields {
		if f.desc.ContainingOneof() == nil {
			continue
		}
		level := proto.GetExtension(f.message.desc.Options(), fleetv1.E_KindSince).(uint32)
		f.supported = exists(level)
		s.kinds[f.message.name] = f
	}
	return s
}

// exists reports whether something of a level is there in this build.
func exists(since uint32) bool { return since > 0 && since <= SchemaLevel }

func buildMessage(d protoreflect.MessageDescriptor, known map[protoreflect.FullName]*messageSchema) *messageSchema {
	if m, ok := known[d.FullName()]; ok {
		return m
	}
	fds := d.Fields()
	m := &messageSchema{
		desc:   d,
		name:   string(d.Name()),
		fields: make([]*fieldSchema, 0, fds.Len()),
		byName: make(map[string]*fieldSchema, fds.Len()),
		rules:  rulesOf(d.FullName()),
	}
	known[d.FullName()] = m
	for i := range fds.Len() {
		f := buildField(fds.Get(i), known)
		m.fields = append(m.fields, f)
		m.byName[f.name] = f
		n := int(f.desc.Number())
		for len(m.byNumber) <= n {
			m.byNumber = append(m.byNumber, nil)
		}
		m.byNumber[n] = f
		m.hasRefs = m.hasRefs || f.refers()
	}
	return m
}

// refers reports whether the field can name another resource, itself or below.
func (f *fieldSchema) refers() bool {
	return f.ref != "" || f.format == fleetv1.Format_LISTEN_ADDRESS || f.message != nil && f.message.hasRefs
}

func buildField(d protoreflect.FieldDescriptor, known map[protoreflect.FullName]*messageSchema) *fieldSchema {
	f := &fieldSchema{desc: d, name: d.JSONName(), kind: d.Kind(), list: d.IsList(), dict: d.IsMap()}
	if o, ok := d.Options().(*descriptorpb.FieldOptions); ok && o != nil {
		f.supported = exists(proto.GetExtension(o, fleetv1.E_Since).(uint32))
		f.format = proto.GetExtension(o, fleetv1.E_Format).(fleetv1.Format)
		f.ref = proto.GetExtension(o, fleetv1.E_Ref).(string)
		f.required = proto.GetExtension(o, fleetv1.E_Required).(bool)
		f.fileOnly = proto.GetExtension(o, fleetv1.E_FileOnly).(bool)
		f.secret = proto.GetExtension(o, fleetv1.E_Secret).(bool)
		if proto.HasExtension(o, fleetv1.E_Min) {
			f.min = proto.Int64(proto.GetExtension(o, fleetv1.E_Min).(int64))
		}
		if proto.HasExtension(o, fleetv1.E_Max) {
			f.max = proto.Int64(proto.GetExtension(o, fleetv1.E_Max).(int64))
		}
	}
	switch {
	case f.dict:
	case d.Message() != nil:
		f.rate = d.Message().FullName() == "fleet.v1.Rate"
		f.message = buildMessage(d.Message(), known)
	case d.Enum() != nil:
		f.enum = buildEnum(d.Enum())
	}
	return f
}

func buildEnum(d protoreflect.EnumDescriptor) *enumSchema {
	e := &enumSchema{supported: map[protoreflect.EnumNumber]bool{}}
	for i := range d.Values().Len() {
		v := d.Values().Get(i)
		if v.Number() == 0 {
			continue
		}
		e.values = append(e.values, v)
		if o, ok := v.Options().(*descriptorpb.EnumValueOptions); ok && o != nil {
			e.supported[v.Number()] = exists(proto.GetExtension(o, fleetv1.E_ValueSince).(uint32))
		}
	}
	return e
}

// kindOf is the kind whose spec field r has set, or "".
func (s *schema) kindOf(r *fleetv1.Resource) (*fieldSchema, protoreflect.Message) {
	m := r.ProtoReflect()
	od := s.resource.desc.Oneofs().Get(0)
	fd := m.WhichOneof(od)
	if fd == nil {
		return nil, nil
	}
	return s.resource.byNumber[fd.Number()], m.Get(fd).Message()
}
