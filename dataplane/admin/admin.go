package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/filefeed"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

const (
	// maxAnswers is how many answers are made at a time; more get 503. Each may
	// hold some megabytes.
	maxAnswers = 4
	// answerTime is how long such an answer may take, with its way to the client: one
	// that does not read it must not keep others from theirs. Prometheus waits for 10 s.
	answerTime = 30 * time.Second
	// closeTimeout is how long Run waits for answers when it ends.
	closeTimeout = 2 * time.Second
)

// Config is what a Server shows. Stats, Live and Status are required.
type Config struct {
	NodeID string
	Build  api.Build
	Stats  *stats.Set
	// Live is the table in force, nil or one without a version if there is none.
	Live func() *table.Table
	// Status is how the configuration got here: FeedStatus and FileStatus make one.
	Status func() Status
	// Resources are those of the table in force; nil: not kept, and ?full is
	// refused.
	Resources func() tree.Tree
	// Feed counts what came from control planes; nil: the node is standalone.
	Feed func() feed.Counters
	// Endpoint is the load of the endpoint with a slot; nil: not known.
	Endpoint func(slot uint32) EndpointLoad
	// Node is what the node's parts say of themselves; nil: not known.
	Node func() NodeState
	// VIPs is the node's part in virtual IPs; nil: it is in no fleet.
	VIPs func() VIPState
	// Log counts the lines of the access log; nil: there is none.
	Log LogCounter
	// Checks are asked by /readyz besides the built-in one, that there is a
	// configuration.
	Checks []Check
	// Permit rations the processor; nil: no limit.
	Permit Permit
	Logger *slog.Logger
}

// Permit is a share of the processor that the loops leave to others.
type Permit interface {
	Acquire()
	Release()
}

// LogCounter tells what became of the lines of the access log.
type LogCounter interface {
	Written() uint64
	Dropped() uint64
}

// NodeState is how a node is at this moment.
type NodeState struct {
	Pressure    pressure.Level
	MemoryLimit uint64 // bytes; 0: no limit
	BufferBytes int64
	Drained     bool
	Unwritten   uint64    // messages of the process that could not be written
	LastGood    time.Time // when the last known good configuration was written; zero: never
}

// EndpointLoad is what the node has at an endpoint at this moment.
type EndpointLoad struct{ InFlight, Connections, Waiting int }

// Check is one of the things that readiness needs.
type Check struct {
	Name string
	// Ready says whether it is there; detail is for people.
	Ready func() (ok bool, detail string)
}

// Status is how a node stands to what is wanted of it.
type Status struct {
	// Source is where configuration comes from: the address of a control plane,
	// or a file.
	Source string
	// Connected: what is wanted is known as of now.
	Connected bool
	Since     time.Time // of Connected or its opposite
	LastError string
	Wanted    api.Version
	Running   api.Version
	AppliedAt time.Time // when Running came into force
	Problems  []resource.Problem
	Retrying  bool
}

// FeedStatus shows the state of a feed.
func FeedStatus(state func() feed.State) func() Status {
	version := func(v tree.Version) api.Version {
		if v.IsZero() {
			return api.Version{}
		}
		return api.Version{Epoch: v.Epoch, Revision: v.Revision, Digest: v.Root.String()}
	}
	return func() Status {
		s := state()
		return Status{
			Source:    s.ControlPlane,
			Connected: s.Connected,
			Since:     s.Since,
			LastError: s.LastError,
			Wanted:    version(s.Wanted),
			Running:   version(s.Running),
			AppliedAt: s.AppliedAt,
			Problems:  s.Problems,
			Retrying:  s.Retrying,
		}
	}
}

// FileStatus shows the state of a file that a node is kept on. A file is there, so what
// it wants is what it says.
func FileStatus(state func() filefeed.State) func() Status {
	return func() Status {
		s := state()
		status := Status{
			Source:    s.Path,
			Connected: true,
			Since:     s.Since,
			LastError: s.LastError,
			AppliedAt: s.AppliedAt,
			Problems:  s.Problems,
			Retrying:  s.Retrying,
		}
		if v := s.Running.Version; v != (table.Version{}) {
			status.Running = api.Version{Epoch: v.Epoch, Revision: v.Revision, Digest: s.Running.Tree.Root().String()}
			status.Wanted = status.Running
		}
		return status
	}
}

// Server answers on the admin address.
type Server struct {
	config   Config
	log      *slog.Logger
	gatherer prometheus.Gatherer
	slots    chan struct{}

	answerTime time.Duration // answerTime; tests have less
}

// New makes a server. It starts nothing.
func New(c Config) (*Server, error) {
	if c.Stats == nil || c.Live == nil || c.Status == nil {
		return nil, errors.New("admin: Stats, Live and Status are required")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	registry := prometheus.NewRegistry()
	for _, collector := range []prometheus.Collector{
		newCollector(c),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("admin: metrics: %w", err)
		}
	}
	return &Server{config: c, log: c.Logger, gatherer: registry, slots: make(chan struct{}, maxAnswers), answerTime: answerTime}, nil
}

// Listen opens the admin address. There is no authentication, so an address that
// is not on loopback is refused unless insecure is set.
func Listen(ctx context.Context, address string, insecure bool) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	if !insecure && !isLoopback(l.Addr().String()) {
		l.Close()
		return nil, fmt.Errorf("admin address %s is not on loopback: anybody could read the configuration; --insecure allows it", address)
	}
	return l, nil
}

// Run serves until ctx ends, and closes l.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(isLoopback(l.Addr().String())),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		// A CPU profile or a trace takes as long as it is asked for.
		WriteTimeout:   5 * time.Minute,
		IdleTimeout:    time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("admin: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		server.Close() // what is left is cut
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// Handler is all that Run serves. On loopback requests must name an address or
// localhost as their host: else a page that a browser on this machine shows could
// read the answers, by giving its own name our address.
func (s *Server) Handler(loopback bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /metrics", s.bounded(s.metrics))
	mux.HandleFunc("GET /config", s.bounded(s.showConfig))
	mux.HandleFunc("GET /vips", s.bounded(s.showVIPs))
	mux.HandleFunc("GET /debug/pprof/", onLoopback(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/cmdline", onLoopback(pprof.Cmdline))
	mux.HandleFunc("GET /debug/pprof/profile", onLoopback(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/symbol", onLoopback(pprof.Symbol))
	mux.HandleFunc("GET /debug/pprof/trace", onLoopback(pprof.Trace))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if loopback && !namesAddress(r.Host) {
			http.Error(w, "name this node by an address or localhost", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// namesAddress says whether a Host field is an address or localhost.
func namesAddress(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

func isLoopback(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// onLoopback keeps others than this machine's users out. Profiles show memory
// and cost time.
func onLoopback(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.RemoteAddr) {
			http.Error(w, "profiles are for clients on loopback", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

// bounded answers only so many at a time, and none for longer than answerTime.
func (s *Server) bounded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.answerTime)) // a test's recorder has none
			next(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many answers are being made", http.StatusServiceUnavailable)
		}
	}
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, api.Health{OK: true})
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	health := api.Health{OK: true}
	add := func(name string, ok bool, detail string) {
		health.OK = health.OK && ok
		health.Checks = append(health.Checks, api.HealthCheck{Name: name, OK: ok, Detail: detail})
	}
	running := s.config.Status().Running
	if running == (api.Version{}) {
		add("configuration", false, "none has arrived")
	} else {
		add("configuration", true, fmt.Sprintf("revision %d", running.Revision))
	}
	for _, c := range s.config.Checks {
		ok, detail := c.Ready()
		add(c.Name, ok, detail)
	}
	status := http.StatusOK
	if !health.OK {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, health)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// acquire takes the permit to work, release gives it back, and pause lets others
// have it for a moment.
func (c *Config) acquire() {
	if c.Permit != nil {
		c.Permit.Acquire()
	}
}

func (c *Config) release() {
	if c.Permit != nil {
		c.Permit.Release()
	}
}

func (c *Config) pause() {
	c.release()
	c.acquire()
}
