package admin

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/dataplane/agent"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a node in the middle of its life.
type fixture struct {
	config Config
	status Status
	tree   tree.Tree
	table  table.Table
	permit countingPermit
}

type countingPermit struct{ held, acquired atomic.Int32 }

func (p *countingPermit) Acquire() { p.held.Add(1); p.acquired.Add(1) }
func (p *countingPermit) Release() { p.held.Add(-1) }

type lines struct{}

func (lines) Written() uint64 { return 41 }
func (lines) Dropped() uint64 { return 2 }

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{}
	documents, problems := resource.Decode([]byte(strings.Join([]string{
		"kind: Upstream\nname: u\nspec: {endpoints: [{address: 127.0.0.1:9001}]}",
		"kind: Listener\nname: web\nspec: {port: 8080, protocol: HTTP}",
	}, "\n---\n")), resource.DecodeOptions{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, d := range documents {
		canonical, err := resource.Canonical(d.Resource)
		if err != nil {
			t.Fatal(err)
		}
		f.tree = f.tree.Set(d.Key, canonical)
	}
	f.table = table.Table{
		Version: table.Version{Epoch: 3, Revision: 42},
		Root:    f.tree.Root(),
		Listeners: []table.Listener{{
			Name: "web", Port: 8080,
			Addresses: []table.Address{{}, {Kind: table.AddressLiteral, IP: netip.MustParseAddr("::1")}},
			TLS: &table.ListenerTLS{Certificates: []*table.Certificate{{
				Name: "site", Pair: tls.Certificate{Leaf: &x509.Certificate{NotAfter: time.Unix(1_900_000_000, 0)}},
			}}},
		}},
		Upstreams: []*table.Upstream{{Name: "u", Endpoints: []table.Endpoint{{Address: "127.0.0.1:9001", Slot: 5}}}},
		Routes:    7,
	}
	running := api.Version{Epoch: 3, Revision: 42, Digest: f.tree.Root().String()}
	f.status = Status{
		Source: "127.0.0.1:7401", Connected: true, Running: running, Wanted: running,
		AppliedAt: time.Unix(1_800_000_000, 0),
	}
	f.config = Config{
		NodeID: "node-a", Build: api.Build{Version: "v1", Go: "go1"},
		Stats:     stats.New(2, stats.Limits{}),
		Live:      func() *table.Table { return &f.table },
		Status:    func() Status { return f.status },
		Resources: func() tree.Tree { return f.tree },
		Feed:      func() feed.Counters { return feed.Counters{Acks: 9} },
		Node: func() NodeState {
			return NodeState{Pressure: pressure.High, MemoryLimit: 1 << 30, BufferBytes: 4096, Drained: true, Unwritten: 11, LastGood: time.Now().Add(-time.Minute)}
		},
		VIPs: func() VIPState {
			return VIPState{
				Gossip: ":7946", ListRevision: 5, Expected: []string{"node-a", "node-b"},
				Agent: agent.State{Running: true, PID: 77, Report: &fleetv1.AgentReport{Members: []*fleetv1.AgentMember{{NodeId: "node-a", Flags: "eligible"}}}},
				Statuses: []*fleetv1.VipStatus{{
					Vip: "front", State: fleetv1.VipStatus_HOLDING, Holder: "node-a", Holds: true, Alive: 1, Expected: 2, Needed: 2,
					Policy: fleetv1.VirtualIP_AVAILABILITY, SinceUnixMs: 1_800_000_000_000,
				}},
			}
		},
		Endpoint: func(slot uint32) EndpointLoad { return EndpointLoad{InFlight: int(slot), Waiting: 1} },
		Log:      lines{},
		Permit:   &f.permit,
		Logger:   slog.New(slog.DiscardHandler),
	}
	return f
}

func (f *fixture) get(t *testing.T, path string, header ...string) (int, string) {
	t.Helper()
	s, err := New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:7402"+path, nil)
	r.RemoteAddr = "127.0.0.1:40000"
	for i := 0; i+1 < len(header); i += 2 {
		switch header[i] {
		case "Host":
			r.Host = header[i+1]
		case "Remote":
			r.RemoteAddr = header[i+1]
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.Handler(true).ServeHTTP(w, r)
	if held := f.permit.held.Load(); held != 0 {
		t.Errorf("%s: the permit is held %d times afterwards", path, held)
	}
	return w.Code, w.Body.String()
}

func TestANodeIsReadyWithAConfigurationAndNoFailingCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fixture)
		want   int
		text   string
	}{
		{"a node with a configuration", func(*fixture) {}, 200, `"revision 42"`},
		{"before the first one", func(f *fixture) { f.status.Running = api.Version{} }, 503, "none has arrived"},
		{"a check that fails", func(f *fixture) {
			f.config.Checks = []Check{{"drain", func() (bool, string) { return false, "the node drains" }}}
		}, 503, "the node drains"},
		{"without a control plane", func(f *fixture) { f.status.Connected = false }, 200, "revision 42"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			tt.change(f)
			code, body := f.get(t, "/readyz")
			if code != tt.want || !strings.Contains(body, tt.text) {
				t.Errorf("%d %s, want %d with %s", code, body, tt.want, tt.text)
			}
			if code, _ := f.get(t, "/healthz"); code != 200 {
				t.Errorf("/healthz: %d, want 200", code)
			}
		})
	}
}

func TestTheConfigurationPageTellsWhatRunsAndWhatIsWanted(t *testing.T) {
	f := newFixture(t)
	f.status.Wanted.Revision = 43
	f.status.Problems = []resource.Problem{{Kind: "Route", Name: "r", Expected: "an Upstream"}}
	code, body := f.get(t, "/config")
	var got Live
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatal(code, err, body)
	}
	if got.Node != "node-a" || got.Running.Revision != 42 || got.Wanted.Revision != 43 || len(got.Problems) != 1 ||
		got.Attested != f.tree.Root().String() || got.Drift || got.Resources != nil {
		t.Errorf("got %s", body)
	}
	if want := []string{"NODE:8080", "[::1]:8080"}; !slices.Equal(got.Listeners[0].Addresses, want) {
		t.Errorf("addresses %v, want %v", got.Listeners[0].Addresses, want)
	}
	if got.Counts != (LiveCounts{Listeners: 1, Routes: 7, Upstreams: 1, Endpoints: 1}) {
		t.Errorf("counts %+v", got.Counts)
	}
}

func TestVirtualIPsAreShown(t *testing.T) {
	f := newFixture(t)
	code, body := f.get(t, "/vips")
	var got LiveVIPs
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatal(code, err, body)
	}
	if len(got.VIPs) != 1 || got.VIPs[0].Name != "front" || got.VIPs[0].State != api.VIPHolding || got.VIPs[0].Policy != "AVAILABILITY" ||
		got.Agent == nil || got.Agent.PID != 77 || len(got.Members) != 1 || got.ListRevision != 5 {
		t.Errorf("got %s", body)
	}
	_, metrics := f.get(t, "/metrics")
	for _, want := range []string{`proxyfleet_vip_held{vip="front"} 1`, "proxyfleet_members_expected 2", "proxyfleet_vip_agent_running 1"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	f.config.VIPs = func() VIPState { return VIPState{Off: "no key"} }
	if _, body := f.get(t, "/vips"); !strings.Contains(body, "no key") {
		t.Errorf("got %s", body)
	}
	f.config.VIPs = nil
	if code, _ := f.get(t, "/vips"); code != http.StatusNotImplemented {
		t.Errorf("status %d of a node without a fleet", code)
	}
}

func TestDriftIsShown(t *testing.T) {
	f := newFixture(t)
	f.table.Root = tree.Sum([]byte("something else"))
	if _, body := f.get(t, "/config"); !strings.Contains(body, `"drift": true`) {
		t.Errorf("got %s", body)
	}
	if _, body := f.get(t, "/metrics"); !strings.Contains(body, "proxyfleet_config_drift 1") {
		t.Error("no drift in the metrics")
	}
}

func TestConfigFullReadsBackAsItWasApplied(t *testing.T) {
	f := newFixture(t)
	_, yaml := f.get(t, "/config?full&format=yaml")
	documents, problems := resource.Decode([]byte(yaml), resource.DecodeOptions{})
	if len(problems) > 0 || len(documents) != 2 {
		t.Fatalf("%d documents, %v, of %s", len(documents), problems, yaml)
	}
	if documents[0].Key.Kind != "Listener" || documents[1].Key.Kind != "Upstream" {
		t.Errorf("not in order: %s", yaml)
	}
	again := tree.Tree{}
	for _, d := range documents {
		canonical, err := resource.Canonical(d.Resource)
		if err != nil {
			t.Fatal(err)
		}
		again = again.Set(d.Key, canonical)
	}
	if again.Root() != f.tree.Root() {
		t.Errorf("another digest: %s", yaml)
	}
	if _, byHeader := f.get(t, "/config?full", "Accept", "application/yaml"); byHeader != yaml {
		t.Errorf("by the Accept field: %s", byHeader)
	}
	var live Live
	if _, body := f.get(t, "/config?full"); json.Unmarshal([]byte(body), &live) != nil || len(live.Resources) != 2 {
		t.Errorf("as JSON: %s", body)
	}
	f.config.Resources = nil
	if code, _ := f.get(t, "/config?full"); code != http.StatusNotImplemented {
		t.Errorf("without resources: %d, want 501", code)
	}
}

func TestTheFeedsStateIsShownAsItIs(t *testing.T) {
	root := tree.Sum([]byte("x"))
	got := FeedStatus(func() feed.State {
		return feed.State{ControlPlane: "cp", Connected: true, Running: tree.Version{Epoch: 1, Revision: 2, Root: root}}
	})()
	if got.Source != "cp" || got.Running != (api.Version{Epoch: 1, Revision: 2, Digest: root.String()}) || got.Wanted != (api.Version{}) {
		t.Errorf("got %+v", got)
	}
}
