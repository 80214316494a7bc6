package fleettest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

// readyTimeout is generous: the machine may be building something else.
const readyTimeout = 60 * time.Second

// Options say what fleet is wanted.
type Options struct {
	Nodes int // default 3
	// EtcdEndpoints of an external etcd; empty: embedded.
	EtcdEndpoints []string
	// NodeArgs are added to each node's command line.
	NodeArgs []string
	// Gossip has the nodes know each other, under a key.
	Gossip bool
	// NodeLimits hold each node down.
	NodeLimits Limits
}

// Fleet is a running fleet.
type Fleet struct {
	t       testing.TB
	Dir     string
	Net     string // "127.a.b": what the fleet has for itself
	Control *Process
	REST    string // URL
	GRPC    string // host:port
	Nodes   []*Node
	Client  *client.Client
	options Options
}

// Node is a running node.
type Node struct {
	*Process
	ID      string
	Address string // where its listeners are
	Admin   string // host:port
}

// New starts a fleet and waits until every node is connected.
func New(t testing.TB, o Options) *Fleet {
	t.Helper()
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	f := &Fleet{t: t, Dir: shortTempDir(t), Net: freeNet(t), options: o}
	f.StartControlPlane()
	for i := range o.Nodes {
		f.StartNode(i + 1)
	}
	f.WaitNodes()
	return f
}

// shortTempDir is a temporary directory whose name leaves room for the names of
// unix sockets below it.
func shortTempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// freeNet finds three bytes of a loopback network that nobody listens on.
func freeNet(t testing.TB) string {
	t.Helper()
	for range 100 {
		network := fmt.Sprintf("127.%d.%d", 1+rand.IntN(254), rand.IntN(256))
		l, err := net.Listen("tcp", network+".1:7402")
		if err == nil {
			l.Close()
			return network
		}
	}
	t.Fatal("no free loopback network")
	return ""
}

// StartControlPlane starts the control plane, again if it ran before.
func (f *Fleet) StartControlPlane() {
	f.t.Helper()
	p := f.StartReplica(1)
	f.Control, f.REST, f.GRPC, f.Client = p.Process, p.REST, p.GRPC, p.Client
}

// Replica is one of several control planes on an external etcd.
type Replica struct {
	*Process
	REST   string // URL
	GRPC   string // host:port, and by what others know it
	Client *client.Client
}

// StartReplica starts the control plane of that number, of which the fleet's is the first,
// again if it ran before.
func (f *Fleet) StartReplica(number int) *Replica {
	f.t.Helper()
	host, dir := fmt.Sprintf("%s.%d", f.Net, number), "cp"
	if number > 1 {
		dir += strconv.Itoa(number)
	}
	p := &Replica{REST: "http://" + host + ":7400", GRPC: host + ":7401"}
	args := []string{"--data-dir", filepath.Join(f.Dir, dir), "--rest-address", host + ":7400", "--grpc-address", p.GRPC}
	if len(f.options.EtcdEndpoints) > 0 {
		key := filepath.Join(f.Dir, "seal.key")
		if _, err := seal.OpenFile(key); err != nil {
			f.t.Fatal(err)
		}
		args = append(args, "--etcd-endpoints", strings.Join(f.options.EtcdEndpoints, ","), "--seal-key-file", key)
	}
	p.Process = start(f.t, f.Dir, strings.Replace(dir, "cp", "controlplane", 1), Binary(f.t, "proxy-controlplane"), args...)
	c, err := client.New(client.Options{Server: p.REST, Author: "test"})
	if err != nil {
		f.t.Fatal(err)
	}
	p.Client = c
	f.t.Cleanup(c.Close)
	Wait(f.t, readyTimeout, "the control plane to be ready", func() bool {
		if p.Ended() {
			f.t.Fatalf("the control plane ended:\n%s", p.Log())
		}
		_, err := c.Ready(context.Background())
		return err == nil
	})
	return p
}

// Proxyctl runs proxyctl against the control plane.
func (p *Replica) Proxyctl(t testing.TB, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return Run(t, "", Binary(t, "proxyctl"), append([]string{"--server", p.REST}, args...)...)
}

// StartNode starts the node of that number, from 1.
func (f *Fleet) StartNode(number int) *Node {
	f.t.Helper()
	return f.StartNodeAt(number, f.GRPC)
}

// StartNodeAt is StartNode with the addresses of the control planes that the node knows.
func (f *Fleet) StartNodeAt(number int, planes ...string) *Node {
	f.t.Helper()
	n := &Node{ID: fmt.Sprintf("node-%d", number), Address: fmt.Sprintf("%s.%d", f.Net, 10+number)}
	n.Admin = n.Address + ":7402"
	args := append([]string{
		"--node-id", n.ID, "--control-plane", strings.Join(planes, ","), "--listen-address", n.Address, "--admin-address", n.Admin,
		"--state-dir", filepath.Join(f.Dir, "state"), "--loops", "1", "--access-log", filepath.Join(f.Dir, n.ID+".access.log"),
	}, append(f.gossipArgs(n), f.options.NodeArgs...)...)
	binary, args := f.options.NodeLimits.wrap(f.t, Binary(f.t, "proxy-dataplane"), args)
	n.Process = start(f.t, f.Dir, n.ID, binary, args...)
	for len(f.Nodes) < number {
		f.Nodes = append(f.Nodes, nil)
	}
	f.Nodes[number-1] = n
	return n
}

// gossipArgs have a node join the first ones, which need not be there yet.
func (f *Fleet) gossipArgs(n *Node) []string {
	if !f.options.Gossip {
		return nil
	}
	key := filepath.Join(f.Dir, "gossip.key")
	if _, err := os.Stat(key); err != nil {
		text := base64.StdEncoding.EncodeToString([]byte("thirty-two bytes that tests know")) + "\n"
		if err := os.WriteFile(key, []byte(text), 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
	return []string{
		"--gossip-address", n.Address + ":7946", "--gossip-key-file", key,
		"--gossip-join", f.Net + ".11:7946," + f.Net + ".12:7946",
	}
}

// VIP is where Localise puts the virtual IP of the examples.
func (f *Fleet) VIP() string { return f.Net + ".100" }

// WaitNodes waits until every node runs the head. That every node is in sync is
// not enough: what is wanted may not have followed the head yet.
func (f *Fleet) WaitNodes() {
	f.t.Helper()
	head, err := f.Client.Status(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	Wait(f.t, readyTimeout, "every node to run the head", func() bool {
		list, err := f.Client.Nodes(context.Background())
		if err != nil || len(list.Items) < len(f.Nodes) {
			return false
		}
		for _, n := range list.Items {
			if n.State != api.Synced || n.Running == nil || n.Running.Epoch != head.Epoch || n.Running.Revision < head.Revision {
				return false
			}
		}
		return true
	})
}

// Apply applies documents and fails the test if they are refused.
func (f *Fleet) Apply(documents string) api.ApplyResult {
	f.t.Helper()
	r, err := f.Client.Apply(context.Background(), []byte(documents), client.Write{})
	if err != nil {
		f.t.Fatalf("apply: %v", err)
	}
	return r
}

// Proxyctl runs proxyctl against the fleet.
func (f *Fleet) Proxyctl(args ...string) (stdout, stderr string, status int) {
	f.t.Helper()
	return Run(f.t, "", Binary(f.t, "proxyctl"), append([]string{"--server", f.REST}, args...)...)
}

// Localise moves the addresses of an example into the fleet's own network:
// backends from 127.0.0.1, the virtual IP from 127.0.0.100, and nothing else.
func (f *Fleet) Localise(documents string) string {
	return strings.NewReplacer("127.0.0.1:", f.Net+".1:", "127.0.0.100", f.Net+".100").Replace(documents)
}

// Backend serves on a port of the fleet's network until the test ends.
func (f *Fleet) Backend(port int, handler http.Handler) string {
	f.t.Helper()
	address := fmt.Sprintf("%s.1:%d", f.Net, port)
	l, err := net.Listen("tcp", address)
	if err != nil {
		f.t.Fatal(err)
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	f.t.Cleanup(func() { s.Close() })
	return address
}

// PortBackends are the five sample backends of the examples: each answers with
// its port.
func (f *Fleet) PortBackends() {
	for port := 9001; port <= 9005; port++ {
		f.Backend(port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, port) }))
	}
}

// AdminJSON reads a JSON answer of a node's admin endpoint.
func (n *Node) AdminJSON(t testing.TB, path string, into any) {
	t.Helper()
	resp, err := http.Get("http://" + n.Admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// AdminText reads a text answer of a node's admin endpoint.
func (n *Node) AdminText(t testing.TB, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + n.Admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
