package resource

import (
	"iter"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// References lists what r refers to: the path of the field, and the kind and
// name that it holds. Fields, values and kinds that are not supported yet are
// left out: they are refused as a whole, whatever they point to. So are names
// that cannot be names.
func References(r *fleetv1.Resource) iter.Seq2[string, Key] {
	return func(yield func(string, Key) bool) {
		spec, m := fleetSchema.kindOf(r)
		if spec == nil || !spec.supported || !spec.message.hasRefs {
			return
		}
		w := referenceWalk{path: path{{key: "spec"}}, yield: yield}
		w.message(spec.message, m)
	}
}

type referenceWalk struct {
	path  path
	yield func(string, Key) bool
}

// message is false when the caller wants no more.
func (w *referenceWalk) message(ms *messageSchema, m protoreflect.Message) bool {
	for _, f := range ms.fields {
		if !f.supported || !f.refers() || !m.Has(f.desc) {
			continue
		}
		w.path = append(w.path, step{key: f.name})
		var more bool
		if v := m.Get(f.desc); f.list {
			more = w.list(f, v.List())
		} else {
			more = w.value(f, v)
		}
		w.path = w.path[:len(w.path)-1]
		if !more {
			return false
		}
	}
	return true
}

func (w *referenceWalk) list(f *fieldSchema, l protoreflect.List) bool {
	for i := range l.Len() {
		w.path = append(w.path, step{index: i})
		more := w.value(f, l.Get(i))
		w.path = w.path[:len(w.path)-1]
		if !more {
			return false
		}
	}
	return true
}

func (w *referenceWalk) value(f *fieldSchema, v protoreflect.Value) bool {
	if f.message != nil {
		return w.message(f.message, v.Message())
	}
	key := Key{Kind: f.ref, Name: v.String()}
	if f.ref == "" { // a listen address
		name, isVIP := strings.CutPrefix(v.String(), "vip/")
		if !isVIP || !fleetSchema.kinds[VirtualIP].supported {
			return true
		}
		key = Key{Kind: VirtualIP, Name: name}
	}
	return !ValidName(key.Name) || w.yield(w.path.String(), key)
}

// maxComparisons bounds the work that goes into suggestions for one input.
const maxComparisons = 1_000_000

// Dangling reports the references of docs to resources that neither exists nor
// one of docs declares, a broken one too: what a person has to put right there
// is not told a second time here. Suggestions are the nearest among candidates
// and the keys of docs.
func Dangling(docs []Document, exists func(Key) bool, candidates ...Key) []Problem {
	declared := make(map[Key]bool, len(docs))
	names := map[string][]string{}
	for _, k := range candidates {
		names[k.Kind] = append(names[k.Kind], k.Name)
	}
	for _, d := range docs {
		declared[d.Key] = true
		if d.Key.Kind != "" && d.Key.Name != "" {
			names[d.Key.Kind] = append(names[d.Key.Kind], d.Key.Name)
		}
	}
	var problems []Problem
	comparisons := 0
	for i := range docs {
		d := &docs[i]
		if d.Resource == nil {
			continue
		}
		for field, to := range References(d.Resource) {
			if declared[to] || exists(to) {
				continue
			}
			near := ""
			if comparisons += len(names[to.Kind]); comparisons <= maxComparisons {
				near = Nearest(to.Name, names[to.Kind])
			}
			problems = append(problems, d.Locate(Missing(d.Key, field, to, near)))
			if len(problems) == maxProblems {
				return problems
			}
		}
	}
	SortProblems(problems)
	return problems
}
