package rest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// Bounds of the server. Those that clients should know are in package api.
const (
	// requestTimeout bounds the work on one request. A 100,000-route apply takes
	// a few seconds of it.
	requestTimeout = 60 * time.Second
	// readTimeout bounds the reading of what is wanted, and the work on a request that only
	// reads, or that is brief. It is far more than a store that works takes to load 100,000
	// resources.
	readTimeout = 15 * time.Second
	// lastTimeout is how long is waited for the store where what it said last will do.
	lastTimeout = time.Second
	// headTimeout bounds the reading of a request's head, bodyTimeout of the
	// whole request: 64 MiB at 10 Mbit/s.
	headTimeout = 10 * time.Second
	bodyTimeout = 60 * time.Second
	// writeTimeout bounds the writing of an answer, or of one event.
	writeTimeout = 60 * time.Second
	// idleTimeout bounds how long a kept connection waits for a request.
	idleTimeout = 2 * time.Minute
	maxHead     = 64 << 10
	// maxBodies bounds the bodies that are decoded at one moment: a syntax tree
	// is some twenty times its text.
	maxBodies = 4
	// maxUploads bounds the bodies above smallBody that are read at one moment.
	maxUploads = 4
	smallBody  = 1 << 20
	// commitAttempts bounds how often a change without If-Match is computed
	// again because another one won. Each loss means that somebody made progress.
	commitAttempts = 10
	// shutdownTimeout is what open requests get after the end was asked for.
	shutdownTimeout = 5 * time.Second
)

// Store is the configuration and its history. Its errors are those of package
// store. Configurations are immutable and shared.
type Store interface {
	Current(ctx context.Context) (store.Configuration, error)
	Commit(ctx context.Context, base store.Configuration, next tree.Tree, m store.Meta) (store.Configuration, error)
	History(ctx context.Context, before uint64, limit int) ([]*fleetv1.Change, error)
	At(ctx context.Context, revision uint64) (store.Configuration, *fleetv1.Change, error)
}

// Checker says what a node would refuse of a candidate. It is called with
// candidates that decode without problems, and often with several for one change.
type Checker interface {
	Check(ctx context.Context, base store.Configuration, next tree.Tree) []resource.Problem
	// Problems are those of the head, if it does not compile in this build.
	Problems() []resource.Problem
}

// Explainer says which routes a request gets. Its errors are *api.Error.
type Explainer interface {
	Explain(ctx context.Context, r api.ExplainRequest) (api.Explanation, error)
}

// Check is one thing that readiness needs.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
}

// Config is what a Server needs. All but Observe, Committed, Metrics and
// Ready must be set.
type Config struct {
	// Bound is the address that Run's listener listens on.
	Bound   netip.AddrPort
	Store   Store
	Records Records
	Epochs  Epochs
	Checker Checker
	// Explainer is asked by what is wanted of the nodes.
	Explainer Explainer
	Nodes     Nodes
	// Certificates are those in force, by name; nil: none are known.
	Certificates func() iter.Seq2[string, *x509.Certificate]
	// Notices are what people should know of the control plane itself; nil: nothing.
	Notices func() []string
	// ControlPlanes are those that are there, this one first, without their nodes; nil: there
	// can be no other one.
	ControlPlanes func() []api.ControlPlane
	// Heads tells when to look for a new head.
	Heads Watcher
	// Committed is called after every new revision; it must not block.
	Committed func()
	// Ready are the checks of /readyz, in order.
	Ready []Check
	// Metrics answers /metrics; without it the path is not found.
	Metrics http.Handler
	// Observe is told of every finished request: the operation ("" for paths
	// that there are none of), the status and how long it took.
	Observe func(operation string, status int, took time.Duration)
	Build   api.Build
	Now     func() time.Time
	Logger  *slog.Logger
}

// Server is the REST interface. New starts nothing; Run serves.
type Server struct {
	// immutable
	cfg     Config
	guard   guard
	engine  *gin.Engine
	openAPI []byte
	hub     *hub
	// uploads and bodies hold one token for each large body being read, and for
	// each body being worked on.
	uploads, bodies chan struct{}

	last atomic.Pointer[lastRead] // nil: nothing was read yet
}

// New builds the routes and the OpenAPI document from one table.
func New(cfg Config) (*Server, error) {
	if cfg.Observe == nil {
		cfg.Observe = func(string, int, time.Duration) {}
	}
	if cfg.Committed == nil {
		cfg.Committed = func() {}
	}
	s := &Server{
		cfg:     cfg,
		guard:   guard{bound: cfg.Bound},
		uploads: make(chan struct{}, maxUploads),
		bodies:  make(chan struct{}, maxBodies),
	}
	s.hub = newHub(s)
	operations := s.operations()
	var err error
	if s.openAPI, err = document(operations, cfg.Build); err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	gin.SetMode(gin.ReleaseMode)
	s.engine = gin.New()
	s.engine.RedirectTrailingSlash = false
	s.engine.HandleMethodNotAllowed = true
	// Names may hold what is escaped in a path; gin would read "+" as a space,
	// so handlers unescape by themselves.
	s.engine.UseEscapedPath = true
	s.engine.UnescapePathValues = false
	if err := s.engine.SetTrustedProxies(nil); err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	for _, op := range operations {
		s.engine.Handle(op.method, op.path, s.serve(op))
	}
	s.engine.NoRoute(s.serve(operation{handle: s.noRoute}))
	s.engine.NoMethod(s.serve(operation{handle: s.noMethod}))
	return s, nil
}

// Handler is the server's handler, for those who bring their own http.Server.
func (s *Server) Handler() http.Handler { return s.engine }

// Run serves on the listener until ctx ends, and closes it. Open requests get a
// few seconds to end, event streams end at once.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:           s.engine,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	hubDone := make(chan struct{})
	go func() {
		defer close(hubDone)
		s.hub.run(ctx)
	}()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		// The hub ends with ctx, and with it the streams, which Shutdown waits for.
		shutdown, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer stop()
		if e := server.Shutdown(shutdown); e != nil {
			s.cfg.Logger.Warn("rest: requests cut at shutdown", "error", e)
			_ = server.Close() // what it could report was reported by Shutdown
		}
		err = <-served
	}
	cancel()
	<-hubDone
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("rest: serve on %s: %w", l.Addr(), err)
}

// current is the configuration that is wanted now.
func (s *Server) current(ctx context.Context) (store.Configuration, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	configuration, err := s.cfg.Store.Current(ctx)
	if err != nil {
		return store.Configuration{}, storeError{err}
	}
	s.last.Store(&lastRead{configuration, s.cfg.Now()})
	return configuration, nil
}

// lastRead is a configuration, and when it was last known to be the current one.
type lastRead struct {
	configuration store.Configuration
	at            time.Time
}

// confirm takes note that a revision is the current one.
func (s *Server) confirm(revision uint64) {
	if last := s.last.Load(); last != nil && last.configuration.Revision == revision {
		s.last.CompareAndSwap(last, &lastRead{last.configuration, s.cfg.Now()})
	}
}

// currentOrLast is current for what people look at when the store does not answer: then
// it is what was read last, and asOf says when it was last known to be current. It waits
// for lastTimeout, where anything was read.
func (s *Server) currentOrLast(ctx context.Context) (configuration store.Configuration, asOf *time.Time, err error) {
	if s.last.Load() == nil {
		configuration, err = s.current(ctx)
		return configuration, nil, err
	}
	short, cancel := context.WithTimeout(ctx, lastTimeout)
	defer cancel()
	configuration, err = s.current(short)
	if last := s.last.Load(); err != nil && !errors.Is(err, store.ErrDamaged) && last != nil && ctx.Err() == nil {
		at := last.at.UTC()
		return last.configuration, &at, nil
	}
	return configuration, nil, err
}

// at is the configuration at a revision; 0 is the empty beginning.
func (s *Server) at(ctx context.Context, revision uint64) (store.Configuration, *fleetv1.Change, error) {
	if revision == 0 {
		return store.Configuration{}, nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	configuration, change, err := s.cfg.Store.At(ctx, revision)
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = fmt.Errorf("%w: %w", api.NewError(api.TypeNotFound, "revision %d: there is none yet", revision), err)
	case errors.Is(err, store.ErrCompacted):
		err = fmt.Errorf("%w: %w", api.NewError(api.TypeGone, "revision %d: it is no longer kept", revision), err)
	case err != nil:
		err = storeError{err} // which names the revision
	}
	if err != nil {
		return store.Configuration{}, nil, err
	}
	return configuration, change, nil
}

// handle is the work of one operation. An error becomes a problem document.
type handle func(c *gin.Context) error

// serve wraps the work of an operation with what all have: the guard, strict
// query parameters, a deadline, the problem document and the observation.
func (s *Server) serve(op operation) gin.HandlerFunc {
	return func(c *gin.Context) {
		start, client := s.cfg.Now(), c.Request.Context()
		defer func() { s.cfg.Observe(op.id, c.Writer.Status(), s.cfg.Now().Sub(start)) }()
		defer func() {
			// A bug costs one request, not the fleet's control plane.
			if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a value, as net/http compares it
				s.cfg.Logger.Error("rest: handler panicked", "operation", op.id, "panic", p, "stack", string(debug.Stack()))
				s.fail(client, c, errPanic)
			} else if p != nil {
				panic(p)
			}
		}()
		if !op.stream {
			limit := requestTimeout
			if op.method == http.MethodGet || op.brief {
				limit = readTimeout
			}
			ctx, cancel := context.WithTimeout(c.Request.Context(), limit)
			defer cancel()
			c.Request = c.Request.WithContext(ctx)
			// A writer that cannot take a deadline is a test's recorder.
			_ = http.NewResponseController(c.Writer).SetWriteDeadline(start.Add(requestTimeout + writeTimeout))
		}
		err := s.guard.check(c.Request)
		if err == nil && op.id != "" {
			err = checkQuery(c.Request, op.query)
		}
		if err == nil {
			err = checkConditions(c.Request, op)
		}
		if err == nil {
			err = op.handle(c)
		}
		if err != nil {
			s.fail(client, c, err)
		}
	}
}
