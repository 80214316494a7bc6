package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// Live answers /config.
type Live struct {
	Node  string    `json:"node"`
	Build api.Build `json:"build"`
	// Running is what the node says it serves, Attested the digest that its table
	// was really built from: another one than Running's is drift.
	Running  *api.Version `json:"running,omitempty"`
	Attested string       `json:"attested,omitempty"`
	Drift    bool         `json:"drift"`
	// Wanted is the last version that arrived; Problems say why it is not Running.
	Wanted    *api.Version  `json:"wanted,omitempty"`
	Problems  []api.Problem `json:"problems,omitempty"`
	Retrying  bool          `json:"retrying,omitempty"`
	AppliedAt *time.Time    `json:"appliedAt,omitempty"`

	Source    string     `json:"source,omitempty"`
	Connected bool       `json:"connected"`
	Since     *time.Time `json:"since,omitempty"`
	LastError string     `json:"lastError,omitempty"`

	Listeners []LiveListener `json:"listeners"`
	Counts    LiveCounts     `json:"counts"`
	// Resources stand here when asked for by ?full, sorted by kind and name.
	Resources []json.RawMessage `json:"resources,omitempty"`
}

// LiveListener is a listener of the table in force.
type LiveListener struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
}

// LiveCounts are the numbers of what the table in force holds.
type LiveCounts struct {
	Listeners int `json:"listeners"`
	Routes    int `json:"routes"`
	Upstreams int `json:"upstreams"`
	Endpoints int `json:"endpoints"`
}

func (s *Server) showConfig(w http.ResponseWriter, r *http.Request) {
	full := r.URL.Query().Has("full")
	if full && s.config.Resources == nil {
		http.Error(w, "this node does not keep the resources that its table was built from", http.StatusNotImplemented)
		return
	}
	live := s.live()
	if !full {
		writeJSON(w, http.StatusOK, live)
		return
	}
	yaml := wantsYAML(r)
	resources, err := s.resources(yaml)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if yaml {
		w.Header().Set("Content-Type", "application/yaml")
		fmt.Fprintf(w, "# node %s", s.config.NodeID)
		if v := live.Running; v != nil {
			fmt.Fprintf(w, ", epoch %d, revision %d, digest %s", v.Epoch, v.Revision, v.Digest)
		}
		_, _ = w.Write(append([]byte{'\n'}, bytes.Join(resources, []byte("---\n"))...))
		return
	}
	live.Resources = make([]json.RawMessage, len(resources))
	for i := range resources {
		live.Resources[i] = resources[i]
	}
	writeJSON(w, http.StatusOK, live)
}

// wantsYAML says whether YAML is named by the query or the Accept field; JSON is
// the default.
func wantsYAML(r *http.Request) bool {
	switch r.URL.Query().Get("format") {
	case "yaml":
		return true
	case "json":
		return false
	}
	return strings.Contains(r.Header.Get("Accept"), "yaml")
}

func (s *Server) live() Live {
	status := s.config.Status()
	out := Live{
		Node:      s.config.NodeID,
		Build:     s.config.Build,
		Running:   version(status.Running),
		Wanted:    version(status.Wanted),
		Retrying:  status.Retrying,
		AppliedAt: moment(status.AppliedAt),
		Source:    status.Source,
		Connected: status.Connected,
		Since:     moment(status.Since),
		LastError: status.LastError,
		Listeners: []LiveListener{},
	}
	for _, p := range status.Problems {
		out.Problems = append(out.Problems, api.Problem(p))
	}
	t := s.config.Live()
	if t == nil {
		return out
	}
	if t.Root != (tree.Hash{}) {
		out.Attested = t.Root.String()
		out.Drift = out.Running != nil && out.Attested != out.Running.Digest
	}
	out.Counts = counts(t)
	for i := range t.Listeners {
		l := &t.Listeners[i]
		shown := LiveListener{Name: l.Name}
		for _, a := range l.Addresses {
			shown.Addresses = append(shown.Addresses, address(a, l.Port))
		}
		out.Listeners = append(out.Listeners, shown)
	}
	return out
}

func counts(t *table.Table) LiveCounts {
	c := LiveCounts{Listeners: len(t.Listeners), Routes: t.Routes, Upstreams: len(t.Upstreams)}
	for _, u := range t.Upstreams {
		c.Endpoints += len(u.Endpoints)
	}
	return c
}

func address(a table.Address, port uint16) string {
	host := "NODE"
	if a.Kind != table.AddressNode {
		host = a.IP.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func version(v api.Version) *api.Version {
	if v == (api.Version{}) {
		return nil
	}
	return &v
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// resources prints every resource of the table in force.
func (s *Server) resources(yaml bool) ([][]byte, error) {
	s.config.acquire()
	defer s.config.release()
	var leaves []tree.Leaf
	for leaf := range s.config.Resources().All() {
		leaves = append(leaves, leaf)
	}
	slices.SortFunc(leaves, func(a, b tree.Leaf) int { return a.Key.Compare(b.Key) })
	out := make([][]byte, len(leaves))
	for i, leaf := range leaves {
		if i%pauseEvery == 0 {
			s.config.pause()
		}
		r, err := resource.Parse(leaf.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", leaf.Key, err)
		}
		if yaml {
			out[i], err = resource.AppendYAML(nil, r)
		} else {
			out[i], err = resource.AppendJSON(nil, r)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", leaf.Key, err)
		}
	}
	return out, nil
}
