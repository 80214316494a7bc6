package controlplanetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func (s *Server) listHistory(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if err := checkQuery(q, api.QueryBefore, api.QueryLimit); err != nil {
		return err
	}
	limit, before := uint64(api.DefaultHistoryLimit), uint64(0)
	var err error
	if v := q.Get(api.QueryLimit); v != "" {
		if limit, err = number(v); err != nil {
			return err
		}
	}
	if v := q.Get(api.QueryBefore); v != "" {
		if before, err = number(v); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := api.HistoryList{Items: []api.HistoryEntry{}}
	for i := len(s.history) - 1; i > 0; i-- {
		if before > 0 && uint64(i) >= before {
			continue
		}
		if uint64(len(list.Items)) == limit {
			list.Next = uint64(i + 1)
			break
		}
		list.Items = append(list.Items, s.history[i].entry)
	}
	return writeJSON(w, http.StatusOK, "", list)
}

// revision is the state that s names. The caller holds mu.
func (s *Server) revision(name string) (*state, error) {
	n, err := number(name)
	if err != nil {
		return nil, err
	}
	if n >= uint64(len(s.history)) {
		return nil, api.NewError(api.TypeNotFound, "revision %d: there is none", n)
	}
	return &s.history[n], nil
}

func (s *Server) showChange(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.revision(r.PathValue("revision"))
	if err != nil {
		return err
	}
	if st.entry.Revision == 0 {
		return api.NewError(api.TypeNotFound, "revision 0: it is the empty beginning")
	}
	d, err := diff(s.history[st.entry.Revision-1].tree, st.tree)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "", api.HistoryDetail{HistoryEntry: st.entry, Entries: d.Entries})
}

// diff compares two trees.
func diff(from, to tree.Tree) (api.Diff, error) {
	d := api.Diff{Entries: []api.DiffEntry{}}
	yaml := func(t tree.Tree, k tree.Key) (string, error) {
		leaf, ok := t.Get(k)
		if !ok {
			return "", nil
		}
		data, err := text(leaf, resource.AppendYAML)
		return string(data), err
	}
	upserts, removed := tree.Diff(from, to)
	for _, leaf := range upserts {
		removed = append(removed, leaf.Key)
	}
	for _, k := range removed {
		before, err := yaml(from, k)
		if err != nil {
			return d, err
		}
		after, err := yaml(to, k)
		if err != nil {
			return d, err
		}
		e := api.DiffEntry{Kind: k.Kind, Name: k.Name, Action: api.Configured, Before: before, After: after}
		switch {
		case before == "":
			e.Action = api.Created
			d.Created++
		case after == "":
			e.Action = api.Deleted
			d.Deleted++
		default:
			d.Configured++
		}
		d.Entries = append(d.Entries, e)
	}
	slices.SortFunc(d.Entries, func(a, b api.DiffEntry) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return d, nil
}

func (s *Server) diffBody(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	head := s.head()
	docs, err := decode(body, has(head.tree))
	if err != nil {
		return err
	}
	next, _, err := set(head.tree, docs)
	if err != nil {
		return err
	}
	d, err := diff(head.tree, next)
	if err != nil {
		return err
	}
	d.From = head.entry.Version
	return writeJSON(w, http.StatusOK, "", d)
}

func (s *Server) diffRevisions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if err := checkQuery(q, api.QueryFrom, api.QueryTo); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from, err := s.revision(q.Get(api.QueryFrom))
	if err != nil {
		return err
	}
	to := s.head()
	if q.Has(api.QueryTo) {
		if to, err = s.revision(q.Get(api.QueryTo)); err != nil {
			return err
		}
	}
	d, err := diff(from.tree, to.tree)
	if err != nil {
		return err
	}
	d.From, d.To = from.entry.Version, to.entry.Version
	return writeJSON(w, http.StatusOK, "", d)
}

func (s *Server) rollback(w http.ResponseWriter, r *http.Request) error {
	var q api.RollbackRequest
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return api.NewError(api.TypeMalformed, "%v", err)
	}
	message := q.Message
	if message == "" {
		message = fmt.Sprintf("rollback to revision %d", q.Revision)
	}
	return s.change(w, r, message, func(t tree.Tree) (tree.Tree, []api.Changed, error) {
		if err := s.ifMatch(r, versionTag(s.head().entry.Version)); err != nil {
			return t, nil, err
		}
		st, err := s.revision(fmt.Sprint(q.Revision))
		if err != nil {
			return t, nil, err
		}
		differences, err := diff(t, st.tree)
		if err != nil {
			return t, nil, err
		}
		changed := []api.Changed{}
		for _, e := range differences.Entries {
			changed = append(changed, api.Changed{Kind: e.Kind, Name: e.Name, Action: e.Action})
		}
		return st.tree, changed, nil
	})
}
