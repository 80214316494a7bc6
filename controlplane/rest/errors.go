package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

var (
	errPanic = errors.New("the handler panicked")
	// errMade marks what went wrong after the change was made.
	errMade = errors.New("the change was made; what became of it cannot be shown")
)

// storeError is what the store could not do, as against what it said no to. It reads as what
// the store says, which begins with its name.
type storeError struct{ error }

func (e storeError) Unwrap() error { return e.error }

func byStore(err error) bool { return errors.As(err, new(storeError)) }

// fail answers with the problem document of an error; client is the context of
// the client's connection. Once an answer has begun
// the connection is cut instead, so that the client does not take half for all.
func (s *Server) fail(client context.Context, c *gin.Context, err error) {
	if c.Writer.Written() {
		s.cfg.Logger.Warn("rest: answer cut", "path", c.Request.URL.Path, "error", err)
		panic(http.ErrAbortHandler)
	}
	if client.Err() != nil {
		// It went away; nobody reads an answer.
		c.Status(http.StatusServiceUnavailable)
		return
	}
	problem := classify(err, !api.Reads(c.Request.Method, c.Request.URL.Path))
	if problem.Status >= http.StatusInternalServerError {
		s.cfg.Logger.Error("rest: request failed", "method", c.Request.Method, "path", c.Request.URL.Path, "status", problem.Status, "error", err)
	}
	body, err := json.Marshal(problem)
	if err != nil {
		s.cfg.Logger.Error("rest: problem document", "error", err)
	}
	c.Data(problem.Status, api.MediaProblem, body)
}

// classify is the one table from errors to problem documents. Who asked for a change is
// told what became of it.
func classify(err error, changes bool) *api.Error {
	untouched := ""
	if changes {
		untouched = "; nothing was changed"
	}
	var problem *api.Error
	switch {
	case errors.Is(err, errMade):
		return api.NewError(api.TypeTimeout, "%v", err)
	case errors.As(err, &problem):
		return problem
	case errors.Is(err, store.ErrNotFound):
		return api.NewError(api.TypeNotFound, "%v", err)
	case errors.Is(err, store.ErrCompacted):
		return api.NewError(api.TypeGone, "%v", err)
	case errors.Is(err, store.ErrUnknown):
		return api.NewError(api.TypeTimeout, "the change may or may not have been made: %v", err)
	case errors.Is(err, context.DeadlineExceeded) && byStore(err):
		return api.NewError(api.TypeTimeout, "etcd does not answer the control plane%s (%v)", untouched, err)
	case errors.Is(err, context.DeadlineExceeded):
		return api.NewError(api.TypeTimeout, "it took too long%s (%v)", untouched, err)
	case store.Unreachable(err) && byStore(err):
		return api.NewError(api.TypeUnavailable, "etcd does not answer the control plane%s (%v)", untouched, err)
	case byStore(err) && !errors.Is(err, store.ErrDamaged):
		return api.NewError(api.TypeUnavailable, "%v%s", err, untouched)
	default:
		// Errors of ours go to the log; what they say may be about this machine.
		return api.NewError(api.TypeInternal, "see the control plane's log")
	}
}

// invalid is the refusal of a configuration.
func invalid(problems []resource.Problem) *api.Error {
	resource.SortProblems(problems)
	noun := "problems"
	if len(problems) == 1 {
		noun = "problem"
	}
	e := api.NewError(api.TypeInvalid, "%d %s; nothing was changed", len(problems), noun)
	e.Problems = problemList(problems)
	return e
}

func problemList(problems []resource.Problem) []api.Problem {
	list := make([]api.Problem, len(problems))
	for i, p := range problems {
		list[i] = api.Problem(p)
	}
	return list
}

func (s *Server) noRoute(c *gin.Context) error {
	plural, found := strings.CutPrefix(c.Request.URL.Path, "/v1/")
	plural, _, _ = strings.Cut(plural, "/")
	if !found || plural == "" {
		return api.NewError(api.TypeNotFound, "path %q: expected /v1/…, see %s", c.Request.URL.Path, api.PathOpenAPI)
	}
	var plurals []string
	for _, kind := range resource.Kinds() {
		if kind.Plural == plural {
			return api.NewError(api.TypeNotFound, "path %q: expected /v1/%s or /v1/%s/<name>", c.Request.URL.Path, plural, plural)
		}
		plurals = append(plurals, kind.Plural)
	}
	return api.NewError(api.TypeNotFound, "%q is no kind of resource: expected one of %s", plural, strings.Join(plurals, ", "))
}

func (s *Server) noMethod(c *gin.Context) error {
	return api.NewError(api.TypeMethod, "%s: expected %s", c.Request.Method, c.Writer.Header().Get("Allow"))
}
