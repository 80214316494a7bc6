package demo

import (
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

const (
	// MaxNodes is how many nodes a demo can have: 127.0.0.11 to 127.0.0.19.
	MaxNodes     = 9
	defaultNodes = 3
	maxLoops     = 64

	nodeIPFormat = "127.0.0.1%d"

	controlPlaneBinary = "proxy-controlplane"
	dataPlaneBinary    = "proxy-dataplane"
	contextFile        = "proxyctl.yaml"
)

// Plan is what a demo runs. It is computed from a Config and changes nothing.
type Plan struct {
	Dir       string
	Server    string // URL of the REST API
	Context   string // path of the context file
	Processes []Process
	Nodes     []Node
	Backends  []string
	Ports     []Port
	// VIP is the URL of the virtual IP; empty: the demo has none. Key is the file
	// of the key that seals the nodes' gossip then.
	VIP, Key string
}

// Process is one child process.
type Process struct {
	Name string
	Path string
	Args []string
	// Log is the file for what the process prints; OutLog, if not empty, the
	// one for what it prints to standard output.
	Log, OutLog string
}

// Node is one node of the demo.
type Node struct {
	ID  string
	URL string // where its listener of the first configuration answers
}

// Port is a TCP address that the demo needs, and what for.
type Port struct {
	Address string
	Use     string
}

// layout is where things listen. Tests choose ports of their own.
type layout struct {
	rest, grpc string
	web, admin int // ports on each node's address
	gossip     int // likewise; 0: no gossip, and no virtual IP
	backends   []string
}

func defaultLayout() layout {
	l := layout{rest: "127.0.0.1:7400", grpc: "127.0.0.1:7401", web: 8080, admin: 7402, backends: BackendAddresses()}
	if hasVIP() {
		l.gossip = 7946
	}
	return l
}

// newPlan lays the demo out. self is proxyctl, which is also the
// sample backend; the fleet's programs are beside it.
func newPlan(l layout, dir, self string, nodes, loops int) Plan {
	binaries := filepath.Dir(self)
	p := Plan{
		Dir:      dir,
		Server:   "http://" + l.rest,
		Context:  filepath.Join(dir, contextFile),
		Backends: l.backends,
		Ports: []Port{
			{l.rest, "the control plane's REST API"},
			{l.grpc, "the control plane's node stream"},
		},
	}
	log := func(name string) string { return filepath.Join(dir, name+".log") }
	p.Processes = append(p.Processes, Process{
		Name: "controlplane",
		Path: filepath.Join(binaries, executable(controlPlaneBinary)),
		Args: []string{"--data-dir", filepath.Join(dir, "controlplane"), "--rest-address", l.rest, "--grpc-address", l.grpc},
		Log:  log("controlplane"),
	})
	if l.gossip != 0 {
		vip := net.JoinHostPort(vipAddress, strconv.Itoa(l.web))
		p.VIP, p.Key = "http://"+vip, filepath.Join(dir, keyFile)
		p.Ports = append(p.Ports, Port{vip, "the virtual IP"})
	}
	for i := 1; i <= nodes; i++ {
		id, ip := "node-"+strconv.Itoa(i), fmt.Sprintf(nodeIPFormat, i)
		web, admin := net.JoinHostPort(ip, strconv.Itoa(l.web)), net.JoinHostPort(ip, strconv.Itoa(l.admin))
		p.Ports = append(p.Ports, Port{web, id + "'s listener"}, Port{admin, id + "'s admin endpoint"})
		p.Nodes = append(p.Nodes, Node{ID: id, URL: "http://" + web})
		args := []string{
			"--node-id", id,
			"--listen-address", ip,
			"--admin-address", admin,
			"--control-plane", l.grpc,
			"--state-dir", filepath.Join(dir, id),
			"--loops", strconv.Itoa(loops),
		}
		if l.gossip != 0 {
			address := net.JoinHostPort(ip, strconv.Itoa(l.gossip))
			p.Ports = append(p.Ports, Port{address, id + "'s gossip"})
			args = append(args, "--gossip-address", address, "--gossip-key-file", p.Key, "--gossip-join", l.gossipPeers(i, nodes))
		}
		p.Processes = append(p.Processes, Process{
			Name: id,
			Path: filepath.Join(binaries, executable(dataPlaneBinary)),
			Args: args,
			// A node writes messages to standard error, its access log to standard output.
			Log: log(id), OutLog: log(id + ".access"),
		})
	}
	for _, address := range l.backends {
		p.Ports = append(p.Ports, Port{address, "the sample backend"})
	}
	p.Processes = append(p.Processes, Process{
		Name: "backend", Path: self, Args: []string{"demo", "backend", "--address", strings.Join(l.backends, ",")}, Log: log("backend"),
	})
	return p
}

// gossipPeers are the gossip addresses of all nodes but one.
func (l layout) gossipPeers(but, nodes int) string {
	var peers []string
	for i := 1; i <= nodes; i++ {
		if i != but {
			peers = append(peers, net.JoinHostPort(fmt.Sprintf(nodeIPFormat, i), strconv.Itoa(l.gossip)))
		}
	}
	return strings.Join(peers, ",")
}

func executable(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}
	return name
}
