package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// shrinkExempt is the number of resources below which a configuration may lose
// any part in one change: somebody is trying things out.
const shrinkExempt = 10

// change is one request to change the configuration.
type change struct {
	dryRun, allowShrink bool
	meta                store.Meta
	// revision is If-Match of the fleet revision.
	revision tags
	// plan computes the change on a base, as often as the base moves.
	plan func(ctx context.Context, base store.Configuration) (plan, error)
}

// plan is what a change makes of one base.
type plan struct {
	next    tree.Tree
	changed []api.Changed
	// problems are all that is wrong with it.
	problems []resource.Problem
	kept     []api.KeptCertificate // of a rollback
}

// commit checks and writes a change. Without If-Match a lost race means that it
// is planned and checked again, on what won.
func (s *Server) commit(ctx context.Context, ch change) (api.ApplyResult, error) {
	for range commitAttempts {
		base, err := s.current(ctx)
		if err != nil {
			return api.ApplyResult{}, err
		}
		if !ch.revision.holds(versionTag(version(base))) {
			return api.ApplyResult{}, staleRevision(version(base))
		}
		p, err := ch.plan(ctx, base)
		if err == nil {
			// A check that was cut short found nothing, which says nothing.
			err = ctx.Err()
		}
		if err != nil {
			return api.ApplyResult{}, err
		}
		p.problems = append(p.problems, s.beyondNodes(base.Tree, p.next)...)
		if len(p.problems) > 0 {
			return api.ApplyResult{}, invalid(p.problems)
		}
		if err := checkShrink(base.Tree, p.next, ch.allowShrink); err != nil {
			return api.ApplyResult{}, err
		}
		result := api.ApplyResult{Changed: p.changed, DryRun: ch.dryRun, Kept: p.kept, Warnings: s.warnings(p.next, p.changed)}
		if result.Changed == nil {
			result.Changed = []api.Changed{}
		}
		if ch.dryRun || p.next.Root() == base.Tree.Root() {
			result.Version = version(base)
			result.Digest = p.next.Root().String()
			return result, nil
		}
		written, err := s.cfg.Store.Commit(ctx, base, p.next, ch.meta)
		switch {
		case err == nil:
			s.cfg.Committed()
			result.Version = version(written)
			s.cfg.Logger.Info("rest: changed", "revision", written.Revision, "author", ch.meta.Author,
				"message", ch.meta.Message, "named", len(p.changed))
			return result, nil
		case !errors.Is(err, store.ErrConflict):
			return api.ApplyResult{}, storeError{err}
		}
		// Another change won: the next turn sees it, and says so with If-Match.
	}
	e := api.NewError(api.TypeConflict, "%d other changes won in a row; nothing was changed", commitAttempts)
	if now, err := s.current(ctx); err == nil {
		e.Revision = now.Revision
	}
	return api.ApplyResult{}, e
}

func staleRevision(now api.Version) error {
	e := api.NewError(api.TypeStale, "the fleet is at revision %d of epoch %d, If-Match %s; nothing was changed",
		now.Revision, now.Epoch, versionTag(now))
	e.Revision = now.Revision
	return e
}

func staleLeaf(key resource.Key, leaf tree.Leaf, exists bool, revision uint64) error {
	state := "it does not exist"
	if exists {
		state = "its hash is " + leaf.Hash.String()
	}
	e := api.NewError(api.TypeStale, "%s was changed since: %s; nothing was changed", key, state)
	e.Revision = revision
	return e
}

// checkShrink refuses a change that leaves less than half: more often a slip
// (an empty folder, a wrong revision) than a wish.
func checkShrink(base, next tree.Tree, allowed bool) error {
	if allowed || base.Len() < shrinkExempt || next.Len()*2 >= base.Len() {
		return nil
	}
	return api.NewError(api.TypeShrinks, "%d of %d resources would be left; nothing was changed: say %s=true if it is meant",
		next.Len(), base.Len(), api.QueryAllowShrink)
}

func version(s store.Configuration) api.Version {
	return api.Version{Epoch: s.Epoch, Revision: s.Revision, Digest: s.Tree.Root().String()}
}

// newChange reads what all changes have in common.
func newChange(c *gin.Context) (change, error) {
	var ch change
	var err error
	if ch.dryRun, err = boolQuery(c, api.QueryDryRun); err != nil {
		return change{}, err
	}
	if ch.allowShrink, err = boolQuery(c, api.QueryAllowShrink); err != nil {
		return change{}, err
	}
	ch.meta.Message = c.Query(api.QueryMessage)
	if err := printable("message", ch.meta.Message, api.MaxMessage, true); err != nil {
		return change{}, err
	}
	ch.meta.Author, err = author(c.Request)
	return ch, err
}

// author is who a change is put down to: until requests are authenticated, what
// the client says, else where it came from.
func author(r *http.Request) (string, error) {
	if name := r.Header.Get(api.HeaderAuthor); name != "" {
		return name, printable(api.HeaderAuthor, name, api.MaxAuthor, false)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "anonymous@" + host, nil
}

// apply puts every resource of the body in the place of the one of its name.
func (s *Server) apply(c *gin.Context) error { return s.changeTo(c, s.planApply) }

// restore makes the configuration the resources of the body and nothing else.
func (s *Server) restore(c *gin.Context) error { return s.changeTo(c, s.planRestore) }

// changeTo makes of the body's resources what a plan does.
func (s *Server) changeTo(c *gin.Context, plans func(ctx context.Context, base store.Configuration, sub *submission) plan) error {
	ch, err := newChange(c)
	if err != nil {
		return err
	}
	if ch.revision, err = readTags(c.Request.Header["If-Match"]); err != nil {
		return err
	}
	sub, done, err := s.submitted(c)
	if err != nil {
		return err
	}
	defer done()
	ch.plan = func(ctx context.Context, base store.Configuration) (plan, error) {
		return plans(ctx, base, sub), nil
	}
	return s.answerChange(c, ch)
}

// put applies one resource.
func (s *Server) put(kind string) handle {
	return func(c *gin.Context) error {
		ch, key, match, err := newResourceChange(c, kind)
		if err != nil {
			return err
		}
		none, err := createOnly(c.Request)
		if err != nil {
			return err
		}
		sub, done, err := s.submitted(c)
		if err != nil {
			return err
		}
		defer done()
		// What is wrong with its name or number is said before anything else.
		if len(sub.docs) != 1 || sub.docs[0].Key != key {
			if _, err := sub.one(key); err != nil {
				return err
			}
		}
		var hash tree.Hash
		existed := false
		ch.plan = func(ctx context.Context, base store.Configuration) (plan, error) {
			var leaf tree.Leaf
			leaf, existed = base.Tree.Get(key)
			if none && existed {
				e := api.NewError(api.TypeExists, "%s exists; nothing was changed", key)
				e.Revision = base.Revision
				return plan{}, e
			}
			if !match.holdsLeaf(leaf, existed) {
				return plan{}, staleLeaf(key, leaf, existed, base.Revision)
			}
			p := s.planApply(ctx, base, sub)
			put, _ := p.next.Get(key)
			hash = put.Hash
			return p, nil
		}
		result, err := s.commit(c.Request.Context(), ch)
		if err != nil {
			return err
		}
		c.Header("ETag", leafTag(hash))
		status := http.StatusOK
		if !existed && !ch.dryRun {
			status = http.StatusCreated
		}
		return answerJSON(c, status, result)
	}
}

// remove deletes one resource that nothing refers to.
func (s *Server) remove(kind string) handle {
	return func(c *gin.Context) error {
		ch, key, match, err := newResourceChange(c, kind)
		if err != nil {
			return err
		}
		ch.plan = func(ctx context.Context, base store.Configuration) (plan, error) {
			leaf, exists := base.Tree.Get(key)
			if !exists && !match.sent {
				return plan{}, api.NewError(api.TypeNotFound, "%s does not exist", key)
			}
			if !match.holdsLeaf(leaf, exists) {
				return plan{}, staleLeaf(key, leaf, exists, base.Revision)
			}
			return s.planDelete(ctx, base, key)
		}
		return s.answerChange(c, ch)
	}
}

// answerChange makes the change and answers with what became of it.
func (s *Server) answerChange(c *gin.Context, ch change) error {
	result, err := s.commit(c.Request.Context(), ch)
	if err != nil {
		return err
	}
	c.Header("ETag", versionTag(result.Version))
	return answerJSON(c, http.StatusOK, result)
}

func answerJSON(c *gin.Context, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	c.Data(status, api.MediaJSON, body)
	return nil
}

func newResourceChange(c *gin.Context, kind string) (change, resource.Key, tags, error) {
	ch, err := newChange(c)
	if err != nil {
		return change{}, resource.Key{}, tags{}, err
	}
	name, err := pathValue(c, "name")
	if err != nil {
		return change{}, resource.Key{}, tags{}, err
	}
	match, err := readTags(c.Request.Header["If-Match"])
	return ch, resource.Key{Kind: kind, Name: name}, match, err
}

// rollback makes the configuration what it was at a revision.
func (s *Server) rollback(c *gin.Context) error {
	ch, err := newChange(c)
	if err != nil {
		return err
	}
	if ch.revision, err = readTags(c.Request.Header["If-Match"]); err != nil {
		return err
	}
	var request api.RollbackRequest
	if err := s.readShape(c, &request); err != nil {
		return err
	}
	if request.Revision == 0 {
		return api.NewError(api.TypeMalformed, "revision: expected 1 or more")
	}
	if err := printable("message", request.Message, api.MaxMessage, true); err != nil {
		return err
	}
	ch.meta.Message = request.Message
	if ch.meta.Message == "" {
		ch.meta.Message = fmt.Sprintf("rollback to revision %d", request.Revision)
	}
	target, _, err := s.at(c.Request.Context(), request.Revision)
	if err != nil {
		return err
	}
	ch.plan = func(ctx context.Context, base store.Configuration) (plan, error) {
		p := plan{next: target.Tree}
		if !request.WithCertificates {
			p.next, p.kept = keepCertificates(base.Tree, target.Tree, s.cfg.Now())
		}
		for _, d := range differences(base.Tree, p.next) {
			p.changed = append(p.changed, api.Changed{Kind: d.key.Kind, Name: d.key.Name, Action: d.action()})
		}
		// What was right once may not be any more, for this build's rules.
		if p.problems = s.cfg.Checker.Check(ctx, base, p.next); len(p.problems) > 0 {
			p.problems = append(p.problems, keptProblems(p.kept)...)
		}
		return p, nil
	}
	return s.answerChange(c, ch)
}
