package controlplanetest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// minShrink is the size from which on shrinking to less than half is refused.
const minShrink = 10

// decode reads resources and refuses what is wrong with them.
func decode(body []byte, exists func(tree.Key) bool) ([]resource.Document, error) {
	docs, problems := resource.Decode(body, resource.DecodeOptions{})
	problems = append(problems, resource.Dangling(docs, exists)...)
	if len(docs) == 0 && len(problems) == 0 {
		return nil, api.NewError(api.TypeMalformed, "body: expected at least one resource")
	}
	if len(problems) == 0 {
		return docs, nil
	}
	resource.SortProblems(problems)
	refused := api.NewError(api.TypeInvalid, "%d problems", len(problems))
	for _, p := range problems {
		refused.Problems = append(refused.Problems, api.Problem(p))
	}
	return nil, refused
}

// edit computes a change against the current tree. It must not keep it.
type edit func(t tree.Tree) (next tree.Tree, changed []api.Changed, err error)

// change makes a revision, under the conditions of the request.
func (s *Server) change(w http.ResponseWriter, r *http.Request, message string, e edit) error {
	if err := checkQuery(r.URL.Query(), api.QueryDryRun, api.QueryMessage, api.QueryAllowShrink); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	head := s.head()
	next, changed, err := e(head.tree)
	if err != nil {
		return err
	}
	if n := head.tree.Len(); n >= minShrink && 2*next.Len() < n && r.URL.Query().Get(api.QueryAllowShrink) != "true" {
		return api.NewError(api.TypeShrinks, "%d of %d resources would be left", next.Len(), n)
	}
	result := api.ApplyResult{Version: head.entry.Version, Changed: changed}
	result.Digest = next.Root().String()
	result.DryRun = r.URL.Query().Get(api.QueryDryRun) == "true"
	if !result.DryRun && next.Root() != head.tree.Root() {
		result.Revision++
		upserts, removed := tree.Diff(head.tree, next)
		s.history = append(s.history, state{next, api.HistoryEntry{
			Version: result.Version, DigestBefore: head.entry.Digest,
			Time:   s.Start.Add(time.Duration(result.Revision-1) * time.Minute),
			Author: r.Header.Get(api.HeaderAuthor), Message: message,
			Upserted: uint32(len(upserts)), Removed: uint32(len(removed)),
		}})
		entry := s.head().entry
		s.tell(api.Event{Type: api.EventChange, Change: &entry})
	}
	return writeJSON(w, http.StatusOK, versionTag(result.Version), result)
}

func checkQuery(q url.Values, known ...string) error {
	for name := range q {
		if !slices.Contains(known, name) {
			return api.NewError(api.TypeMalformed, "query parameter %q: expected one of %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

func versionTag(v api.Version) string { return api.RevisionTag(v.Epoch, v.Revision) }

// ifMatch refuses the request if its If-Match names something else.
func (s *Server) ifMatch(r *http.Request, current string) error {
	want := r.Header.Get("If-Match")
	if want == "" || strings.Trim(want, `"`) == strings.Trim(current, `"`) {
		return nil
	}
	e := api.NewError(api.TypeStale, "it was changed since; its tag is %s", current)
	e.Revision = s.head().entry.Revision
	return e
}

func (s *Server) apply(w http.ResponseWriter, r *http.Request) error {
	return s.changeTo(w, r, func(t tree.Tree) tree.Tree { return t })
}

func (s *Server) restore(w http.ResponseWriter, r *http.Request) error {
	return s.changeTo(w, r, func(tree.Tree) tree.Tree { return tree.Tree{} })
}

// changeTo sets the body's resources on what on makes of the tree.
func (s *Server) changeTo(w http.ResponseWriter, r *http.Request, on func(tree.Tree) tree.Tree) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	return s.change(w, r, r.URL.Query().Get(api.QueryMessage), func(t tree.Tree) (tree.Tree, []api.Changed, error) {
		docs, err := decode(body, has(on(t)))
		if err != nil {
			return t, nil, err
		}
		if err := s.ifMatch(r, versionTag(s.head().entry.Version)); err != nil {
			return t, nil, err
		}
		_, changed, err := set(t, docs)
		if err != nil {
			return t, nil, err
		}
		next, _, err := set(on(t), docs)
		_, removed := tree.Diff(t, next)
		for _, key := range removed {
			changed = append(changed, api.Changed{Kind: key.Kind, Name: key.Name, Action: api.Deleted})
		}
		return next, changed, err
	})
}

func has(t tree.Tree) func(tree.Key) bool {
	return func(k tree.Key) bool { _, ok := t.Get(k); return ok }
}

// set puts the documents' resources into the tree.
func set(t tree.Tree, docs []resource.Document) (tree.Tree, []api.Changed, error) {
	changed := []api.Changed{}
	for i := range docs {
		key := docs[i].Key
		canonical, err := resource.Canonical(docs[i].Resource)
		if err != nil {
			return t, nil, err
		}
		action := api.Created
		if old, ok := t.Get(key); ok {
			action = api.Configured
			if old.Hash == tree.Sum(canonical) {
				action = api.Unchanged
			}
		}
		t = t.Set(key, canonical)
		changed = append(changed, api.Changed{Kind: key.Kind, Name: key.Name, Action: action})
	}
	return t, changed, nil
}

// key is what the path names.
func key(r *http.Request) (tree.Key, error) {
	kind, ok := resource.KindByPlural(r.PathValue("plural"))
	if !ok || kind == resource.Node {
		return tree.Key{}, api.NewError(api.TypeNotFound, "%s: no such path", r.URL.Path)
	}
	return tree.Key{Kind: kind, Name: r.PathValue("name")}, nil
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := api.ResourceList{Version: s.head().entry.Version, Items: []json.RawMessage{}}
	for _, leaf := range sorted(s.head().tree) {
		if leaf.Key.Kind != k.Kind {
			continue
		}
		item, err := text(leaf, resource.AppendJSON)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, item)
	}
	return writeJSON(w, http.StatusOK, versionTag(list.Version), list)
}

// sorted are the tree's leaves by kind and name.
func sorted(t tree.Tree) []tree.Leaf {
	return slices.SortedFunc(t.All(), func(a, b tree.Leaf) int { return a.Key.Compare(b.Key) })
}

// text is a leaf's resource in one of its text forms.
func text(leaf tree.Leaf, form func([]byte, *fleetv1.Resource) ([]byte, error)) ([]byte, error) {
	r, err := resource.Parse(leaf.Bytes)
	if err != nil {
		return nil, err
	}
	return form(nil, r)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	leaf, ok := s.head().tree.Get(k)
	if !ok {
		return api.NewError(api.TypeNotFound, "%s: there is none", k)
	}
	return writeResource(w, r, `"`+leaf.Hash.String()+`"`, leaf)
}

func writeResource(w http.ResponseWriter, r *http.Request, tag string, leaf tree.Leaf) error {
	form, media := resource.AppendJSON, api.MediaJSON
	if wantsYAML(r) {
		form, media = resource.AppendYAML, api.MediaYAML
	}
	data, err := text(leaf, form)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("ETag", tag)
	_, _ = w.Write(data) // a client that is gone hears nothing
	return nil
}

func (s *Server) put(w http.ResponseWriter, r *http.Request) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	return s.change(w, r, r.URL.Query().Get(api.QueryMessage), func(t tree.Tree) (tree.Tree, []api.Changed, error) {
		docs, err := decode(body, has(t))
		if err != nil {
			return t, nil, err
		}
		if len(docs) != 1 || docs[0].Key != k {
			return t, nil, api.NewError(api.TypeMalformed, "the body: expected %s and nothing else", k)
		}
		old, ok := t.Get(k)
		if ok && r.Header.Get("If-None-Match") == "*" {
			return t, nil, api.NewError(api.TypeExists, "%s exists", k)
		}
		if err := s.ifMatch(r, old.Hash.String()); err != nil {
			return t, nil, err
		}
		return set(t, docs)
	})
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	return s.change(w, r, r.URL.Query().Get(api.QueryMessage), func(t tree.Tree) (tree.Tree, []api.Changed, error) {
		if _, ok := t.Get(k); !ok {
			return t, nil, api.NewError(api.TypeNotFound, "%s: there is none", k)
		}
		refused := api.NewError(api.TypeReferenced, "%s is referred to", k)
		for _, leaf := range sorted(t) {
			res, err := resource.Parse(leaf.Bytes)
			if err != nil {
				return t, nil, err
			}
			for field, to := range resource.References(res) {
				if to == k {
					refused.Problems = append(refused.Problems, api.Problem{
						Kind: leaf.Key.Kind, Name: leaf.Key.Name, Field: field, Got: "a reference to " + k.String(),
					})
				}
			}
		}
		if len(refused.Problems) > 0 {
			return t, nil, refused
		}
		return t.Delete(k), []api.Changed{{Kind: k.Kind, Name: k.Name, Action: api.Deleted}}, nil
	})
}
