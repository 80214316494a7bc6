package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// list answers with all resources of a kind, written as they are rendered.
func (s *Server) list(kind string) handle {
	return func(c *gin.Context) error {
		as, err := resourceForm(c.Request.Header["Accept"])
		if err != nil {
			return err
		}
		now, err := s.current(c.Request.Context())
		if err != nil {
			return err
		}
		var leaves []tree.Leaf
		for leaf := range now.Tree.All() {
			if leaf.Key.Kind == kind {
				leaves = append(leaves, leaf)
			}
		}
		slices.SortFunc(leaves, func(a, b tree.Leaf) int { return a.Key.Compare(b.Key) })
		c.Header("ETag", versionTag(version(now)))
		render := func(dst []byte, i int) ([]byte, error) {
			r, err := resource.Parse(leaves[i].Bytes)
			if err != nil {
				return dst, err
			}
			return appendResource(dst, as, r)
		}
		return streamList(c, as, version(now), len(leaves), render)
	}
}

// streamList writes a ResourceList, or YAML documents, item by item.
func streamList(c *gin.Context, as form, v api.Version, n int, render func(dst []byte, i int) ([]byte, error)) error {
	c.Header("Content-Type", as.contentType())
	out := bufio.NewWriterSize(c.Writer, 64<<10)
	separator, end := []byte("---\n"), []byte(nil)
	if as == formJSON {
		head, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		// Version's fields, and then the items in the same object.
		_, _ = out.Write(head[:len(head)-1])
		_, _ = out.WriteString(`,"items":[`)
		separator, end = []byte(","), []byte("]}")
	}
	var text []byte
	for i := range n {
		var err error
		if text, err = render(text[:0], i); err != nil {
			return fmt.Errorf("list: %w", err)
		}
		if i > 0 {
			_, _ = out.Write(separator)
		}
		if _, err := out.Write(text); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	_, _ = out.Write(end)
	c.Status(http.StatusOK)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	c.Writer.WriteHeaderNow() // an empty YAML list has no bytes
	return nil
}

func appendResource(dst []byte, as form, r *fleetv1.Resource) ([]byte, error) {
	if as == formYAML {
		return resource.AppendYAML(dst, r)
	}
	return resource.AppendJSON(dst, r)
}

// get answers with one resource.
func (s *Server) get(kind string) handle {
	return func(c *gin.Context) error {
		as, err := resourceForm(c.Request.Header["Accept"])
		if err != nil {
			return err
		}
		name, err := pathValue(c, "name")
		if err != nil {
			return err
		}
		now, err := s.current(c.Request.Context())
		if err != nil {
			return err
		}
		key := resource.Key{Kind: kind, Name: name}
		leaf, ok := now.Tree.Get(key)
		if !ok {
			return api.NewError(api.TypeNotFound, "%s does not exist", key)
		}
		r, err := resource.Parse(leaf.Bytes)
		if err != nil {
			return err
		}
		text, err := appendResource(nil, as, r)
		if err != nil {
			return err
		}
		c.Header("ETag", leafTag(leaf.Hash))
		c.Data(http.StatusOK, as.contentType(), text)
		return nil
	}
}

// history answers with a page of changes, newest first.
func (s *Server) history(c *gin.Context) error {
	before, err := numberQuery(c, api.QueryBefore, 0, math.MaxUint64)
	if err != nil {
		return err
	}
	limit, err := numberQuery(c, api.QueryLimit, api.DefaultHistoryLimit, api.MaxHistoryLimit)
	if err != nil {
		return err
	}
	if limit == 0 {
		return api.NewError(api.TypeMalformed, "query parameter %s=0: expected 1 or more", api.QueryLimit)
	}
	changes, err := s.cfg.Store.History(c.Request.Context(), before, int(limit))
	if err != nil {
		return storeError{err}
	}
	page := api.HistoryList{Items: make([]api.HistoryEntry, 0, len(changes))}
	for _, change := range changes {
		page.Items = append(page.Items, historyEntry(change))
	}
	if n := len(changes); uint64(n) == limit && changes[n-1].GetRevision() > 1 {
		page.Next = changes[n-1].GetRevision()
	}
	return answerJSON(c, http.StatusOK, page)
}

func historyEntry(c *fleetv1.Change) api.HistoryEntry {
	return api.HistoryEntry{
		Version:      api.Version{Epoch: c.GetEpoch(), Revision: c.GetRevision(), Digest: hexDigest(c.GetRootAfter())},
		DigestBefore: hexDigest(c.GetRootBefore()),
		Time:         time.UnixMilli(c.GetTimeUnixMs()).UTC(),
		Author:       c.GetAuthor(),
		Message:      c.GetMessage(),
		Upserted:     c.GetUpserted(),
		Removed:      c.GetRemoved(),
	}
}

func hexDigest(root []byte) string { return fmt.Sprintf("%x", root) }

// revision answers with one change and what it did.
func (s *Server) revision(c *gin.Context) error {
	text, err := pathValue(c, "revision")
	if err != nil {
		return err
	}
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil || number == 0 {
		return api.NewError(api.TypeMalformed, "revision %q: expected a number from 1", text)
	}
	ctx := c.Request.Context()
	after, change, err := s.at(ctx, number)
	if err != nil {
		return err
	}
	detail := api.HistoryDetail{HistoryEntry: historyEntry(change), Entries: []api.DiffEntry{}}
	before, _, err := s.at(ctx, number-1)
	switch {
	case errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCompacted),
		err == nil && before.Tree.Root().String() != detail.DigestBefore:
		detail.Entries, detail.EntriesLost = nil, true
	case err != nil:
		return err
	default:
		if detail.Entries, detail.Truncated, err = diffEntries(differences(before.Tree, after.Tree)); err != nil {
			return err
		}
	}
	return answerJSON(c, http.StatusOK, detail)
}

// diffRevisions answers with what differs between two revisions.
func (s *Server) diffRevisions(c *gin.Context) error {
	if _, ok := c.GetQuery(api.QueryFrom); !ok {
		return api.NewError(api.TypeMalformed, "query parameter %s: expected a revision", api.QueryFrom)
	}
	from, err := numberQuery(c, api.QueryFrom, 0, math.MaxUint64)
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	before, _, err := s.at(ctx, from)
	if err != nil {
		return err
	}
	var after store.Configuration
	if _, ok := c.GetQuery(api.QueryTo); !ok {
		after, err = s.current(ctx)
	} else if to, e := numberQuery(c, api.QueryTo, 0, math.MaxUint64); e != nil {
		return e
	} else {
		after, _, err = s.at(ctx, to)
	}
	if err != nil {
		return err
	}
	d, err := diffOf(version(before), version(after), differences(before.Tree, after.Tree))
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, d)
}

// diffApply answers with what an apply of the body would change.
func (s *Server) diffApply(c *gin.Context) error {
	sub, done, err := s.submitted(c)
	if err != nil {
		return err
	}
	defer done()
	ctx := c.Request.Context()
	base, err := s.current(ctx)
	if err != nil {
		return err
	}
	p := s.planApply(ctx, base, sub)
	if len(p.problems) > 0 {
		return invalid(p.problems)
	}
	to := api.Version{Epoch: base.Epoch, Digest: p.next.Root().String()}
	d, err := diffOf(version(base), to, differences(base.Tree, p.next))
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, d)
}

// explain answers with the route that a request gets.
func (s *Server) explain(c *gin.Context) error {
	var request api.ExplainRequest
	if err := s.readShape(c, &request); err != nil {
		return err
	}
	explanation, err := s.cfg.Explainer.Explain(c.Request.Context(), request)
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, explanation)
}

// status answers with the fleet at a glance.
func (s *Server) status(c *gin.Context) error {
	status, err := s.fleetStatus(c.Request.Context())
	if err != nil {
		return err
	}
	c.Header("ETag", versionTag(status.Version))
	return answerJSON(c, http.StatusOK, status)
}

func (s *Server) fleetStatus(ctx context.Context) (api.Status, error) {
	now, asOf, err := s.currentOrLast(ctx)
	if err != nil {
		return api.Status{}, err
	}
	status := api.Status{
		Version: version(now), ConfiguredAsOf: asOf, Build: s.cfg.Build, Problems: problemList(s.cfg.Checker.Problems()),
		Warnings:  s.allWarnings(),
		Resources: map[string]int{}, Nodes: map[api.NodeState]int{},
	}
	for leaf := range now.Tree.All() {
		status.Resources[leaf.Key.Kind]++
	}
	if asOf == nil {
		changes, err := s.cfg.Store.History(ctx, now.Revision+1, 1)
		if err != nil {
			return api.Status{}, storeError{err}
		}
		if len(changes) > 0 {
			entry := historyEntry(changes[0])
			status.LastChange = &entry
		}
	}
	for _, state := range api.NodeStates() {
		status.Nodes[state] = 0
	}
	if s.cfg.ControlPlanes != nil {
		status.ControlPlanes = s.cfg.ControlPlanes()
	}
	for _, node := range s.cfg.Nodes.Nodes() {
		status.NodesTotal++
		status.Nodes[node.State]++
		if !node.Connected {
			continue
		}
		status.NodesConnected++
		for i, plane := range status.ControlPlanes {
			if plane.Name == node.ControlPlane {
				status.ControlPlanes[i].Nodes++
			}
		}
	}
	return status, nil
}

func (s *Server) build(c *gin.Context) error { return answerJSON(c, http.StatusOK, s.cfg.Build) }

func (s *Server) health(c *gin.Context) error {
	return answerJSON(c, http.StatusOK, api.Health{OK: true})
}

// readyTimeout bounds one check of readiness: probes have little patience.
const readyTimeout = 2 * time.Second

func (s *Server) ready(c *gin.Context) error {
	health := api.Health{OK: true}
	for _, check := range s.cfg.Ready {
		ctx, cancel := context.WithTimeout(c.Request.Context(), readyTimeout)
		err := check.Run(ctx)
		cancel()
		one := api.HealthCheck{Name: check.Name, OK: err == nil}
		if err != nil {
			one.Detail, health.OK = err.Error(), false
		}
		health.Checks = append(health.Checks, one)
	}
	status := http.StatusOK
	if !health.OK {
		status = http.StatusServiceUnavailable
	}
	return answerJSON(c, status, health)
}

func (s *Server) metrics(c *gin.Context) error {
	s.cfg.Metrics.ServeHTTP(c.Writer, c.Request)
	return nil
}

func (s *Server) openapi(c *gin.Context) error {
	c.Data(http.StatusOK, api.MediaJSON, s.openAPI)
	return nil
}
