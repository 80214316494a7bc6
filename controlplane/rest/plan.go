package rest

import (
	"context"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// planApply sets the resources of a submission on a base.
func (s *Server) planApply(ctx context.Context, base store.Configuration, sub *submission) plan {
	return s.planSet(ctx, base, base.Tree, sub)
}

// planRestore leaves nothing but the resources of a submission.
func (s *Server) planRestore(ctx context.Context, base store.Configuration, sub *submission) plan {
	p := s.planSet(ctx, base, tree.Tree{}, sub)
	_, removed := tree.Diff(base.Tree, p.next)
	slices.SortFunc(removed, resource.Key.Compare)
	for _, key := range removed {
		p.changed = append(p.changed, api.Changed{Kind: key.Kind, Name: key.Name, Action: api.Deleted})
	}
	return p
}

// planSet sets the resources of a submission on a tree, of which a base becomes the result,
// and gathers everything that is wrong with that: what decoding found, references that lead
// nowhere, and what the nodes' own compiler refuses. Broken documents are left
// out of what is compiled, and so is what would be said only because they are.
func (s *Server) planSet(ctx context.Context, base store.Configuration, on tree.Tree, sub *submission) plan {
	p := plan{next: on, problems: slices.Clone(sub.problems), changed: make([]api.Changed, 0, len(sub.docs))}
	broken, onBase := map[resource.Key]bool{}, on.Root() == base.Tree.Root()
	for i, doc := range sub.docs {
		was, exists := base.Tree.Get(doc.Key)
		canonical, problem := sub.whole(i, was)
		if problem != nil {
			p.problems = append(p.problems, sub.docs[i].Locate(*problem))
		}
		if canonical == nil {
			broken[doc.Key] = true
			p.next = p.next.Delete(doc.Key)
			continue
		}
		action := api.Created
		switch {
		case exists && was.Hash == tree.Sum(canonical):
			action = api.Unchanged
		case exists:
			action = api.Configured
		}
		p.changed = append(p.changed, api.Changed{Kind: doc.Key.Kind, Name: doc.Key.Name, Action: action})
		if action != api.Unchanged || !onBase {
			p.next = p.next.Set(doc.Key, canonical)
		}
	}
	exists := func(key resource.Key) bool {
		_, ok := on.Get(key)
		return ok
	}
	known := problemSet{}
	for _, problem := range p.problems {
		known.add(problem)
	}
	more := resource.Dangling(sub.docs, exists, danglingCandidates(on, sub)...)
	for _, problem := range s.cfg.Checker.Check(ctx, base, p.next) {
		if !concernsBroken(problem, p.next, broken) {
			more = append(more, sub.place(problem))
		}
	}
	for _, problem := range more {
		if known.add(problem) {
			p.problems = append(p.problems, problem)
		}
	}
	return p
}

// whole are the canonical bytes of a document, nil if it is broken. What stands in
// the place of a key is replaced by the key that the base has.
func (sub *submission) whole(i int, was tree.Leaf) ([]byte, *resource.Problem) {
	doc := &sub.docs[i]
	if sub.canonical[i] == nil || doc.Resource.GetCertificate().GetKeyFingerprint() == "" {
		return sub.canonical[i], nil
	}
	var kept *fleetv1.Resource
	if was.Bytes != nil {
		kept, _ = resource.Parse(was.Bytes) // what cannot be parsed has no key
	}
	r, problem := resource.Restore(doc.Resource, kept)
	if problem != nil {
		return nil, problem
	}
	canonical, err := resource.Canonical(r)
	if err != nil {
		return nil, &resource.Problem{Kind: doc.Key.Kind, Name: doc.Key.Name, Expected: err.Error()}
	}
	return canonical, nil
}

// place adds document and line to a problem with a resource of the submission.
func (sub *submission) place(p resource.Problem) resource.Problem {
	i, ok := sub.named[p.Key()]
	if !ok || p.Line > 0 {
		return p
	}
	return sub.docs[i].Locate(p)
}

// maxCandidates bounds the names that a suggestion is looked for among.
const maxCandidates = 10_000

// danglingCandidates are the names that a dangling reference may have meant. A
// walk over the tree is only worth it when there is such a reference.
func danglingCandidates(base tree.Tree, sub *submission) []resource.Key {
	missing := map[string]bool{}
	for _, doc := range sub.docs {
		if doc.Resource == nil {
			continue
		}
		for _, key := range resource.References(doc.Resource) {
			_, inBase := base.Get(key)
			if _, inBody := sub.named[key]; !inBase && !inBody {
				missing[key.Kind] = true
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var keys []resource.Key
	for leaf := range base.All() {
		if missing[leaf.Key.Kind] {
			keys = append(keys, leaf.Key)
		}
		if len(keys) == maxCandidates {
			break
		}
	}
	return keys
}

// concernsBroken says whether a problem is about a reference to a document that
// could not be read: it says so itself.
func concernsBroken(p resource.Problem, next tree.Tree, broken map[resource.Key]bool) bool {
	if len(broken) == 0 {
		return false
	}
	if broken[p.Key()] {
		return true
	}
	_, found := referenceAt(p, next, func(target resource.Key) bool { return broken[target] })
	return found
}

// referenceAt finds the reference, to a target that is looked for, that stands
// at the field of a problem.
func referenceAt(p resource.Problem, t tree.Tree, wanted func(resource.Key) bool) (resource.Key, bool) {
	leaf, ok := t.Get(p.Key())
	if !ok {
		return resource.Key{}, false
	}
	r, err := resource.Parse(leaf.Bytes)
	if err != nil {
		return resource.Key{}, false
	}
	for field, target := range resource.References(r) {
		if wanted(target) && (within(field, p.Field) || within(p.Field, field)) {
			return target, true
		}
	}
	return resource.Key{}, false
}

// within says whether the field path inner is outer or below it.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[' || outer == "")
}

// problemSet knows what was said: one resource's fields.
type problemSet map[resource.Key][]string

// add says whether a problem is news: not about a field, or a part of a field,
// that another one is about already.
func (set problemSet) add(p resource.Problem) bool {
	key := p.Key()
	for _, field := range set[key] {
		if field != "" && p.Field != "" && (within(p.Field, field) || within(field, p.Field)) {
			return false
		}
	}
	set[key] = append(set[key], p.Field)
	return true
}

// planDelete takes one resource out. What the compiler then says of those that
// refer to it is the refusal.
func (s *Server) planDelete(ctx context.Context, base store.Configuration, key resource.Key) (plan, error) {
	p := plan{
		next:    base.Tree.Delete(key),
		changed: []api.Changed{{Kind: key.Kind, Name: key.Name, Action: api.Deleted}},
	}
	var referrers []resource.Problem
	for _, problem := range s.cfg.Checker.Check(ctx, base, p.next) {
		if _, found := referenceAt(problem, p.next, func(target resource.Key) bool { return target == key }); found {
			referrers = append(referrers, problem)
		} else {
			p.problems = append(p.problems, problem)
		}
	}
	if len(referrers) == 0 {
		return p, nil
	}
	resource.SortProblems(referrers)
	var names []string
	for _, r := range referrers {
		names = append(names, r.Key().String())
	}
	e := api.NewError(api.TypeReferenced, "%s is referred to by %s; nothing was changed", key, listed(slices.Compact(names)))
	e.Problems = problemList(referrers)
	return plan{}, e
}

// maxListed bounds the names in one sentence.
const maxListed = 20

func listed(names []string) string {
	if len(names) <= maxListed {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:maxListed], ", ") + ", …"
}
