package controlplanetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// Epoch is the epoch of every Server.
const Epoch = 7

// Server is a control plane in memory.
type Server struct {
	// URL is where it listens; empty from NewHandler. Immutable.
	URL string
	// Start is the time of revision 1; each further revision is a minute later. Immutable.
	Start time.Time

	handler http.Handler // immutable

	mu       sync.Mutex
	history  []state // revision is the index
	nodes    []api.NodeStatus
	vips     []api.VIPStatus
	accepted bool       // the epoch
	asOf     *time.Time // the store is away since; nil: it is there
	streams  map[chan api.Event]struct{}
	before   func(r *http.Request) *api.Error
	// explainer answers /v1/explain; nil: there is no listener.
	explainer func(api.ExplainRequest) ([]api.ExplainedListener, error)
}

// state is one revision.
type state struct {
	tree  tree.Tree
	entry api.HistoryEntry
}

// New starts a control plane that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := NewHandler()
	server := httptest.NewServer(s)
	s.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections() // event streams have no end of their own
		server.Close()
	})
	return s
}

// NewHandler is a control plane that the caller serves.
func NewHandler() *Server {
	s := &Server{
		Start:   time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC),
		history: []state{{}},
		streams: map[chan api.Event]struct{}{},
	}
	s.history[0].entry.Version = api.Version{Epoch: Epoch, Digest: tree.EmptyRoot().String()}
	s.handler = s.routes()
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, f) })
	}
	handle("POST /v1/apply", s.apply)
	handle("POST /v1/restore", s.restore)
	handle("POST /v1/diff", s.diffBody)
	handle("GET /v1/diff", s.diffRevisions)
	handle("POST /v1/explain", s.explain)
	handle("GET /v1/history", s.listHistory)
	handle("GET /v1/history/{revision}", s.showChange)
	handle("POST /v1/rollback", s.rollback)
	handle("GET /v1/status", s.status)
	handle("GET /v1/version", s.version)
	handle("GET /v1/events", s.events)
	handle("GET /v1/epoch", s.showEpoch)
	handle("POST /v1/epoch/accept", s.acceptEpoch)
	handle("GET /v1/vips", s.listVIPs)
	handle("GET /v1/vips/{name}", s.getVIP)
	handle("GET /v1/nodes", s.listNodes)
	handle("GET /v1/nodes/{name}", s.getNode)
	handle("PUT /v1/nodes/{name}", s.putNode)
	handle("DELETE /v1/nodes/{name}", s.deleteNode)
	handle("GET /v1/{plural}", s.list)
	handle("GET /v1/{plural}/{name}", s.get)
	handle("PUT /v1/{plural}/{name}", s.put)
	handle("DELETE /v1/{plural}/{name}", s.remove)
	handle("GET /readyz", func(w http.ResponseWriter, _ *http.Request) error {
		return writeJSON(w, http.StatusOK, "", api.Health{OK: true})
	})
	handle("/", func(_ http.ResponseWriter, r *http.Request) error {
		return api.NewError(api.TypeNotFound, "%s: no such path", r.URL.Path)
	})
	return mux
}

// answer runs a handler and turns its error into a problem document.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, f func(w http.ResponseWriter, r *http.Request) error) {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	var err error
	if before != nil {
		if refused := before(r); refused != nil {
			err = refused
		}
	}
	if err == nil {
		err = f(w, r)
	}
	if err == nil {
		return
	}
	var refused *api.Error
	if !errors.As(err, &refused) {
		refused = api.NewError(api.TypeInternal, "%v", err)
	}
	w.Header().Set("Content-Type", api.MediaProblem)
	w.WriteHeader(refused.Status)
	_ = json.NewEncoder(w).Encode(refused) // a client that is gone hears nothing
}

// Before has f look at every request first; what it returns is answered.
func (s *Server) Before(f func(r *http.Request) *api.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// SetNodes replaces the nodes and tells the event streams.
func (s *Server) SetNodes(nodes ...api.NodeStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = nodes
	for _, n := range nodes {
		s.tell(api.Event{Type: api.EventNodeAcked, Node: &n})
	}
}

// SetConfiguredAsOf has status and nodes say that etcd is away since then.
func (s *Server) SetConfiguredAsOf(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asOf = &at
}

// Revision is the current revision.
func (s *Server) Revision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head().entry.Revision
}

// Version is the current version.
func (s *Server) Version() api.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head().entry.Version
}

// tell sends an event to every stream. The caller holds mu.
func (s *Server) tell(e api.Event) {
	for stream := range s.streams {
		select {
		case stream <- e:
		default: // a test that reads too slowly misses it
		}
	}
}

func (s *Server) head() *state { return &s.history[len(s.history)-1] }

func (s *Server) status(w http.ResponseWriter, _ *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeJSON(w, http.StatusOK, "", s.statusLocked())
}

func (s *Server) statusLocked() api.Status {
	head := s.head()
	st := api.Status{
		Version: head.entry.Version, Resources: map[string]int{}, Nodes: map[api.NodeState]int{},
		NodesTotal: len(s.nodes), Build: build(), ConfiguredAsOf: s.asOf,
	}
	if head.entry.Revision > 0 {
		entry := head.entry
		st.LastChange = &entry
	}
	for leaf := range head.tree.All() {
		st.Resources[leaf.Key.Kind]++
	}
	for _, state := range api.NodeStates() {
		st.Nodes[state] = 0
	}
	for _, n := range s.nodes {
		st.Nodes[n.State]++
		if n.Connected {
			st.NodesConnected++
			st.ControlPlanes = withNode(st.ControlPlanes, n.ControlPlane)
		}
	}
	return st
}

// withNode counts a node of the control plane of that name, if it has one.
func withNode(planes []api.ControlPlane, name string) []api.ControlPlane {
	if name == "" {
		return planes
	}
	i := slices.IndexFunc(planes, func(p api.ControlPlane) bool { return p.Name == name })
	if i < 0 {
		return append(planes, api.ControlPlane{Name: name, Nodes: 1})
	}
	planes[i].Nodes++
	return planes
}

func build() api.Build {
	return api.Build{Version: "v0.1.0-test", Go: "go1.26", SchemaLevel: resource.SchemaLevel}
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, "", build())
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	stream := make(chan api.Event, 64)
	s.mu.Lock()
	status := s.statusLocked()
	s.streams[stream] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, stream)
		s.mu.Unlock()
	}()
	w.Header().Set("Content-Type", api.MediaEvents)
	flusher := http.NewResponseController(w)
	e := api.Event{ID: 1, Type: api.EventStatus, Status: &status}
	for {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, ": a comment\n\nid: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Type, data); err != nil {
			return nil // the client is gone
		}
		if err := flusher.Flush(); err != nil {
			return nil
		}
		id := e.ID
		select {
		case e = <-stream:
			e.ID = id + 1
		case <-r.Context().Done():
			return nil
		}
	}
}

// readBody reads a body of a media type that holds resources.
func readBody(r *http.Request) ([]byte, error) {
	if m := r.Header.Get("Content-Type"); m != api.MediaYAML && m != api.MediaJSON {
		return nil, api.NewError(api.TypeMediaType, "Content-Type %q: expected %s or %s", m, api.MediaYAML, api.MediaJSON)
	}
	return io.ReadAll(r.Body)
}

func writeJSON(w http.ResponseWriter, status int, tag string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", api.MediaJSON)
	if tag != "" {
		w.Header().Set("ETag", tag)
	}
	w.WriteHeader(status)
	_, _ = w.Write(data) // a client that is gone hears nothing
	return nil
}

// wantsYAML reports whether the client asked for YAML.
func wantsYAML(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), api.MediaYAML) }

func number(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, api.NewError(api.TypeMalformed, "%q: expected a number", s)
	}
	return n, nil
}
