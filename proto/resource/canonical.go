package resource

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// ErrTooLarge is what errors.Is finds in the error for a resource whose
// canonical bytes would be more than MaxSize.
var ErrTooLarge = errors.New("larger than 256 KiB")

// SchemaError says that canonical bytes hold a field that this build does not
// know: whoever wrote them runs a newer schema. A node answers an update that
// holds such a resource with a permanent NACK.
type SchemaError struct {
	Kind, Name string
	Message    string // the message that the field is in: "Route", "Match"
	Field      int32  // the number of the unknown field
}

// Error names the resource, the field and the level of this build.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("%s/%s: field %d of %s is not known here: it needs a newer schema, this one has level %d",
		e.Kind, e.Name, e.Field, e.Message, SchemaLevel)
}

// Canonical is the one encoding of a resource that is hashed, stored and sent:
// deterministic protobuf of what the user wrote, without defaults. It is
// computed once, by the writer; the bytes then travel as they are. An error
// names the resource.
func Canonical(r *fleetv1.Resource) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", KeyOf(r), err)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%s: %w: it has %d bytes", KeyOf(r), ErrTooLarge, len(b))
	}
	return b, nil
}

// Parse reads canonical bytes. Fields that this build does not know are refused
// with a *SchemaError, at any depth: a node must not run a part of what was
// meant. Whether the values make sense is for Check to say.
func Parse(canonical []byte) (*fleetv1.Resource, error) {
	if len(canonical) > MaxSize {
		return nil, fmt.Errorf("resource: %w: it has %d bytes", ErrTooLarge, len(canonical))
	}
	r := &fleetv1.Resource{}
	if err := proto.Unmarshal(canonical, r); err != nil {
		return nil, fmt.Errorf("resource %s: %w", KeyOf(r), err)
	}
	if m, field := unknownField(canonical, fleetSchema.resource); m != nil {
		return nil, &SchemaError{Kind: r.GetKind(), Name: r.GetName(), Message: m.name, Field: field}
	}
	return r, nil
}

// unknownField finds the first field in b that m does not have, or has with
// another wire type (which proto.Unmarshal keeps as unknown too). It reads the
// bytes, since asking each message for its unknown fields costs as much as
// parsing it. b has been parsed, so it is well formed.
func unknownField(b []byte, m *messageSchema) (*messageSchema, int32) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, 0
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return nil, 0
		}
		value := b[:n]
		b = b[n:]
		if int(num) >= len(m.byNumber) || m.byNumber[num] == nil || !m.byNumber[num].travelsAs(typ) {
			return m, int32(num)
		}
		f := m.byNumber[num]
		if f.message == nil {
			continue
		}
		inner, n := protowire.ConsumeBytes(value)
		if n < 0 {
			return m, int32(num)
		}
		if um, field := unknownField(inner, f.message); um != nil {
			return um, field
		}
	}
	return nil, 0
}

// travelsAs reports whether the field may have the wire type typ.
func (f *fieldSchema) travelsAs(typ protowire.Type) bool {
	switch f.kind {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return typ == protowire.BytesType
	case protoreflect.DoubleKind:
		return typ == protowire.Fixed64Type || f.list && typ == protowire.BytesType
	default:
		return typ == protowire.VarintType || f.list && typ == protowire.BytesType
	}
}
