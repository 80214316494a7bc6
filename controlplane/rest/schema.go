package rest

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// object is a JSON object of the OpenAPI document. encoding/json sorts its
// keys, so the document is the same at each start.
type object = map[string]any

// schemas gathers the components of the document: resources from the
// descriptors of fleet.v1, all else from the Go types of package api.
type schemas struct {
	components object
}

func reference(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// kind adds the schema of a resource of the kind and returns a reference to it.
func (s schemas) kind(kind string) object {
	if _, ok := s.components[kind]; ok {
		return reference(kind)
	}
	s.components[kind] = object{} // a placeholder, so that recursion ends
	properties := object{
		"kind":   object{"const": kind},
		"name":   object{"type": "string", "minLength": 1},
		"labels": object{"type": "object", "additionalProperties": object{"type": "string"}},
	}
	fields := (*fleetv1.Resource)(nil).ProtoReflect().Descriptor().Oneofs().ByName("spec").Fields()
	schema := object{
		"type": "object", "additionalProperties": false,
		"required": []string{"kind", "name"}, "properties": properties,
	}
	for i := range fields.Len() {
		message := fields.Get(i).Message()
		if string(message.Name()) != kind {
			continue
		}
		properties["spec"] = s.message(message)
		since(schema, extension[uint32](message.Options(), fleetv1.E_KindSince))
	}
	s.components[kind] = schema
	return reference(kind)
}

// message adds the schema of a message of fleet.v1 in its text form.
func (s schemas) message(d protoreflect.MessageDescriptor) object {
	if d.FullName() == (*fleetv1.Rate)(nil).ProtoReflect().Descriptor().FullName() {
		return object{"type": "string", "pattern": `^[0-9]+/(s|m|h)$`, "x-format": "RATE", "examples": []string{"1000/s", "30/m"}}
	}
	name := string(d.FullName())
	if _, ok := s.components[name]; ok {
		return reference(name)
	}
	s.components[name] = object{}
	properties := object{}
	var required []string
	for i := range d.Fields().Len() {
		field := d.Fields().Get(i)
		// Fields of files are resolved by the client and refused here.
		if extension[bool](field.Options(), fleetv1.E_FileOnly) {
			continue
		}
		properties[field.JSONName()] = s.field(field)
		if extension[bool](field.Options(), fleetv1.E_Required) {
			required = append(required, field.JSONName())
		}
	}
	schema := object{"type": "object", "additionalProperties": false, "properties": properties}
	if required != nil {
		slices.Sort(required)
		schema["required"] = required
	}
	s.components[name] = schema
	return reference(name)
}

// field is the schema of one field, with its options.
func (s schemas) field(d protoreflect.FieldDescriptor) object {
	var schema object
	switch {
	case d.IsMap():
		schema = object{"type": "object", "additionalProperties": s.value(d, d.MapValue())}
	case d.IsList():
		schema = object{"type": "array", "items": s.value(d, d)}
		if extension[bool](d.Options(), fleetv1.E_Required) {
			schema["minItems"] = 1
		}
	default:
		schema = s.value(d, d)
	}
	since(schema, extension[uint32](d.Options(), fleetv1.E_Since))
	if extension[bool](d.Options(), fleetv1.E_Secret) {
		schema["writeOnly"] = true
	}
	if ref := extension[string](d.Options(), fleetv1.E_Ref); ref != "" {
		schema["x-ref"] = ref
	}
	return schema
}

// value is the schema of one value of a field. The options stand on the field;
// for a map the value has a descriptor of its own.
func (s schemas) value(field, d protoreflect.FieldDescriptor) object {
	options := field.Options()
	format := extension[fleetv1.Format](options, fleetv1.E_Format)
	low, hasLow := bound(options, fleetv1.E_Min)
	high, hasHigh := bound(options, fleetv1.E_Max)
	switch format {
	case fleetv1.Format_DURATION:
		schema := object{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`, "x-format": format.String(), "examples": []string{"500ms", "1m30s"}}
		if hasLow {
			schema["x-minimum"] = time.Duration(low).String()
		}
		if hasHigh {
			schema["x-maximum"] = time.Duration(high).String()
		}
		return schema
	case fleetv1.Format_SIZE:
		schema := object{"type": []string{"string", "integer"}, "pattern": `^[0-9]+(B|KiB|MiB|GiB|TiB)?$`, "x-format": format.String(), "examples": []string{"64KiB"}}
		if hasLow {
			schema["minimum"] = low
		}
		if hasHigh {
			schema["maximum"] = high
		}
		return schema
	case fleetv1.Format_PERCENT:
		return object{"type": "string", "pattern": `^[0-9]+(\.[0-9]+)?%$`, "x-format": format.String(), "examples": []string{"50%"}}
	}
	schema := s.scalar(d)
	if format != fleetv1.Format_FORMAT_UNSPECIFIED {
		schema["x-format"] = format.String()
	}
	if hasLow {
		schema["minimum"] = low
	}
	if hasHigh {
		schema["maximum"] = high
	}
	return schema
}

func (s schemas) scalar(d protoreflect.FieldDescriptor) object {
	switch d.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return s.message(d.Message())
	case protoreflect.EnumKind:
		return enum(d.Enum())
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.StringKind, protoreflect.BytesKind:
		return object{"type": "string"}
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return object{"type": "number"}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return object{"type": "integer", "minimum": 0, "maximum": uint32(math.MaxUint32)}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{"type": "integer", "minimum": 0}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return object{"type": "integer", "minimum": math.MinInt32, "maximum": math.MaxInt32}
	default:
		return object{"type": "integer"}
	}
}

// enum lists the values that people may write; the unset one is left out.
func enum(d protoreflect.EnumDescriptor) object {
	var names []string
	levels := object{}
	for i := range d.Values().Len() {
		value := d.Values().Get(i)
		if value.Number() == 0 {
			continue
		}
		names = append(names, string(value.Name()))
		if level := extension[uint32](value.Options(), fleetv1.E_ValueSince); level > 0 {
			levels[string(value.Name())] = level
		}
	}
	return object{"type": "string", "enum": names, "x-value-since": levels}
}

// since says whether a field or kind works at this build's level.
func since(schema object, level uint32) {
	if level == 0 || level > resource.SchemaLevel {
		schema["x-supported"] = false
		return
	}
	schema["x-since"] = level
}

// shape adds the schema of a Go type of package api.
func (s schemas) shape(v any) object { return s.goType(reflect.TypeOf(v)) }

func (s schemas) goType(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.goType(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 { // json.RawMessage: a resource
			return object{"type": "object"}
		}
		return object{"type": "array", "items": s.goType(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.goType(t.Elem())}
	case reflect.Struct:
		return s.structure(t)
	default:
		panic(fmt.Sprintf("openapi: no schema for %s", t)) // a shape of ours, found by any test
	}
}

func (s schemas) structure(t reflect.Type) object {
	if _, ok := s.components[t.Name()]; ok {
		return reference(t.Name())
	}
	s.components[t.Name()] = object{}
	properties := object{}
	required := []string{}
	for field := range visibleFields(t) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		properties[name] = s.goType(field.Type)
		if options == "" {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	s.components[t.Name()] = object{"type": "object", "properties": properties, "required": required}
	return reference(t.Name())
}

// visibleFields yields the fields as encoding/json sees them: those of an
// embedded struct are its holder's.
func visibleFields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for _, field := range reflect.VisibleFields(t) {
			if field.Anonymous {
				continue
			}
			if !yield(field) {
				return
			}
		}
	}
}

func extension[T any](options proto.Message, t protoreflect.ExtensionType) T {
	value, _ := proto.GetExtension(options, t).(T)
	return value
}

func bound(options proto.Message, t protoreflect.ExtensionType) (int64, bool) {
	if !proto.HasExtension(options, t) {
		return 0, false
	}
	return extension[int64](options, t), true
}
