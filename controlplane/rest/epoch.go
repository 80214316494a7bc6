package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// Epochs knows the epoch in force. *store.Store is one; its errors are those of
// package store.
type Epochs interface {
	Epoch(ctx context.Context) (store.Epoch, error)
	// AcceptEpoch gives store.ErrConflict if another epoch is in force.
	AcceptEpoch(ctx context.Context, epoch uint64) (store.Epoch, error)
}

// epochOperations are about the life of the store.
func (s *Server) epochOperations() []operation {
	return []operation{
		{
			method: http.MethodGet, path: api.PathEpoch, id: "epoch",
			summary: "The epoch in force, and the nodes that hold it.",
			answers: []answer{{status: http.StatusOK, shape: api.Epoch{}, tag: true}},
			handle:  s.showEpoch,
		},
		{
			method: http.MethodPost, path: api.PathAccept, id: "acceptEpoch",
			summary: "Accept the epoch in force: nodes that hold it follow, whatever they lose by it. Which epoch is meant is said by If-Match, by the body, or by both.",
			headers: []parameter{ifMatch("epoch"), authorHeader()},
			body:    &body{shape: api.AcceptRequest{}, optional: true},
			answers: []answer{{status: http.StatusOK, shape: api.Epoch{}, tag: true}},
			errors:  []api.ErrorType{api.TypeStale, api.TypeTooLarge, api.TypeMediaType},
			brief:   true, handle: s.acceptEpoch,
		},
	}
}

func (s *Server) showEpoch(c *gin.Context) error {
	e, err := s.cfg.Epochs.Epoch(c.Request.Context())
	if err != nil {
		return storeError{err}
	}
	return s.answerEpoch(c, e)
}

// answerEpoch completes what the store knows of the epoch with the nodes that
// hold it. None is held that is accepted: its nodes are about to follow.
func (s *Server) answerEpoch(c *gin.Context, e store.Epoch) error {
	now, err := s.current(c.Request.Context())
	if err != nil {
		return err
	}
	out := api.Epoch{
		Version: version(now), ClusterID: strconv.FormatUint(e.ClusterID, 16), Accepted: e.Accepted,
		Held: []api.HeldNode{},
	}
	if out.Epoch != e.Number {
		return api.NewError(api.TypeUnavailable, "epoch %d has just begun: ask again", out.Epoch)
	}
	for _, n := range s.cfg.Nodes.Nodes() {
		if e.Accepted || n.State != api.Held || n.Held == nil {
			continue
		}
		out.Held = append(out.Held, api.HeldNode{ID: n.ID, Running: n.Running, Loss: *n.Held})
	}
	c.Header("ETag", api.EpochTag(e.Number))
	return answerJSON(c, http.StatusOK, out)
}

// acceptEpoch accepts the epoch that the client saw, and no other.
func (s *Server) acceptEpoch(c *gin.Context) error {
	match, err := readTags(c.Request.Header["If-Match"])
	if err != nil {
		return err
	}
	if match.any {
		return api.NewError(api.TypeMalformed, "If-Match: *: expected the number of the epoch that is accepted")
	}
	by, err := author(c.Request)
	if err != nil {
		return err
	}
	asked, err := s.askedEpoch(c)
	if err != nil {
		return err
	}
	if asked == 0 && !match.sent {
		return api.NewError(api.TypeMalformed, "expected the number of the epoch that is accepted, in If-Match or in the body; nothing was accepted")
	}
	ctx := c.Request.Context()
	now, err := s.cfg.Epochs.Epoch(ctx)
	if err != nil {
		return storeError{err}
	}
	if asked != 0 && asked != now.Number || !match.holds(api.EpochTag(now.Number)) {
		return staleEpoch(now.Number)
	}
	e, err := s.cfg.Epochs.AcceptEpoch(ctx, now.Number)
	switch {
	case errors.Is(err, store.ErrConflict):
		// Another epoch began in between, or the head did not stand still.
		if now, err = s.cfg.Epochs.Epoch(ctx); err != nil {
			return storeError{err}
		}
		return staleEpoch(now.Number)
	case err != nil:
		return storeError{err}
	}
	s.cfg.Committed()
	s.cfg.Logger.Warn("rest: epoch accepted", "epoch", e.Number, "author", by)
	if err := s.answerEpoch(c, e); err != nil {
		return fmt.Errorf("%w: %w", errMade, err)
	}
	return nil
}

// askedEpoch is the number in the body; 0: there is no body.
func (s *Server) askedEpoch(c *gin.Context) (uint64, error) {
	if c.Request.ContentLength == 0 {
		return 0, nil
	}
	var request api.AcceptRequest
	if err := s.readShape(c, &request); err != nil {
		return 0, err
	}
	if request.Epoch == 0 {
		return 0, api.NewError(api.TypeMalformed, "epoch: expected a number from 1")
	}
	return request.Epoch, nil
}

func staleEpoch(now uint64) error {
	return api.NewError(api.TypeStale, "the fleet is in epoch %d; nothing was accepted", now)
}
