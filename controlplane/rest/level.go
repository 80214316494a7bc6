package rest

import (
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// beyondNodes refuses what a connected node cannot run: fields of a schema level
// that its build does not know, which it would answer with a Nack.
func (s *Server) beyondNodes(base, next tree.Tree) []resource.Problem {
	level, node := s.cfg.Nodes.MinSchemaLevel()
	if node == "" || level >= resource.SchemaLevel {
		return nil
	}
	var problems []resource.Problem
	upserts, _ := tree.Diff(base, next)
	for _, leaf := range upserts {
		r, err := resource.Parse(leaf.Bytes)
		if err != nil {
			continue // the compiler says so
		}
		if needs := levelOf(r); needs > level {
			problems = append(problems, resource.Problem{
				Kind: leaf.Key.Kind, Name: leaf.Key.Name,
				Got:      "a resource of schema level " + strconv.FormatUint(uint64(needs), 10),
				Expected: "at most level " + strconv.FormatUint(uint64(level), 10) + ", which is what node " + strconv.Quote(node) + " runs: update it first",
			})
		}
	}
	return problems
}

// levelOf is the least schema level that can run a resource.
func levelOf(r *fleetv1.Resource) uint32 {
	spec := r.ProtoReflect().WhichOneof(r.ProtoReflect().Descriptor().Oneofs().ByName("spec"))
	if spec == nil {
		return 0
	}
	level := extension[uint32](spec.Message().Options(), fleetv1.E_KindSince)
	return max(level, levelOfMessage(r.ProtoReflect().Get(spec).Message()))
}

func levelOfMessage(m protoreflect.Message) uint32 {
	var level uint32
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		level = max(level, extension[uint32](field.Options(), fleetv1.E_Since))
		each(field, value, func(v protoreflect.Value) {
			switch {
			case field.Message() != nil && !field.IsMap():
				level = max(level, levelOfMessage(v.Message()))
			case field.Enum() != nil:
				if d := field.Enum().Values().ByNumber(v.Enum()); d != nil {
					level = max(level, extension[uint32](d.Options(), fleetv1.E_ValueSince))
				}
			}
		})
		return true
	})
	return level
}

// each calls do for the value, or for each of a list. Maps hold texts only.
func each(field protoreflect.FieldDescriptor, value protoreflect.Value, do func(protoreflect.Value)) {
	switch {
	case field.IsMap():
	case field.IsList():
		for i := range value.List().Len() {
			do(value.List().Get(i))
		}
	default:
		do(value)
	}
}
