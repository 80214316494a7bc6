package main

import (
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/accesslog"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/spf13/pflag"
)

// Defaults of the flags.
const (
	defaultControlPlane = "127.0.0.1:7401"
	defaultAdmin        = "127.0.0.1:7402"
	defaultGossip       = ":7946"
	defaultDrain        = 30 * time.Second
	// Rotated files are bounded unless somebody says otherwise: 1.2 GB of a disk.
	defaultLogSize = "200MiB"
	defaultLogKeep = 5
	maxLogKeep     = 1000
	// leastMemory is about twice what a node without connections takes.
	leastMemory = 64 << 20
	// gossipOff is a --gossip-address.
	gossipOff = "off"
	// maxLoops is more than any machine that we know has use for.
	maxLoops = 256
)

// options are what flags, variables and the configuration file say.
type options struct {
	nodeID        string
	controlPlanes []string
	resources     string
	listenAddress string
	adminAddress  string
	stateDir      string
	labels        map[string]string
	loops         int
	accessLog     string
	logMaxSize    string
	logKeep       int
	memoryLimit   string
	drainTimeout  time.Duration
	insecure      bool
	gossipAddress string
	gossipJoin    []string
	gossipKeyFile string
	witness       bool
	logLevel      string
	noIOURing     bool
	config        string

	// read from the above by check
	listen netip.Addr
	level  slog.Level
	memory uint64 // 0: no limit
	group  uint64 // the cgroup's limit, which this process shares; 0: there is none
	logMax int64  // 0: the access log is not rotated by size
}

func (o *options) define(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&o.nodeID, "node-id", hostName(), "`NAME` of the node in the fleet")
	f.StringSliceVar(&o.controlPlanes, "control-plane", []string{defaultControlPlane}, "`HOST:PORT,HOST:PORT`… of the control plane's gRPC addresses; one is used at a time")
	f.StringVar(&o.resources, "resources", "", "run without a control plane, on the resources of a YAML `FILE`; it is read again on SIGHUP and when it changes")
	f.StringVar(&o.stateDir, "state-dir", defaultStateDir(), "`DIR` for the last known good configuration, from which the node serves when no control plane answers; a cache that may be deleted at any time; empty: none is kept")
	f.StringVar(&o.listenAddress, "listen-address", "[::]", "`ADDRESS` of listeners that say NODE; [::] takes IPv4 too")
	f.StringVar(&o.adminAddress, "admin-address", defaultAdmin, "`HOST:PORT` of health, metrics and the live configuration")
	f.StringToStringVar(&o.labels, "labels", nil, "labels of the node, `KEY=VALUE,KEY=VALUE`…")
	f.IntVar(&o.loops, "loops", 0, "how many (`N`) event loops (default: one for each processor that the quota allows)")
	f.BoolVar(&o.noIOURing, "no-io-uring", false, "make each read and write by a system call of its own, also where the system allows io_uring, by which the loops make many at once")
	f.StringVar(&o.accessLog, "access-log", accesslog.Stdout, "where the access log goes: stdout, off, or a `FILE`, opened again on SIGHUP")
	f.StringVar(&o.logMaxSize, "access-log-max-size", defaultLogSize, "`SIZE` at which a file of the access log is rotated to FILE.1; off: never, as where logrotate does it")
	f.IntVar(&o.logKeep, "access-log-keep", defaultLogKeep, "how many (`N`) rotated files of the access log stay")
	f.StringVar(&o.memoryLimit, "memory-limit", "", "`SIZE` of memory (512MiB) by which the node sheds idle connections (from 85 %) and then work (from 95 %); default: the cgroup's limit; off: none")
	f.DurationVar(&o.drainTimeout, "drain-timeout", defaultDrain, "how long exchanges may take to end after SIGTERM")
	f.BoolVar(&o.insecure, "insecure", false, "allow plaintext to control planes, an admin address, and gossip without a key, that are not on loopback")
	f.StringVar(&o.gossipAddress, "gossip-address", "", "`IP:PORT` of gossip with the other nodes, UDP and TCP, or off (default: "+defaultGossip+" with --gossip-key-file or --insecure, else off: the node takes no part in virtual IPs)")
	f.StringSliceVar(&o.gossipJoin, "gossip-join", nil, "`HOST:PORT,HOST:PORT`… of other nodes' gossip; one that is there suffices")
	f.StringVar(&o.gossipKeyFile, "gossip-key-file", "", "`FILE` of the keys that seal gossip: 32 bytes in base64, one a line, readable by its owner only; without one gossip stays on loopback, unless --insecure")
	f.BoolVar(&o.witness, "witness", false, "grant virtual IPs to others, and hold none")
	f.StringVar(&o.logLevel, "log-level", "info", "least `LEVEL` of messages: debug, info, warn, error")
	f.StringVar(&o.config, settings.ConfigFlag, "", "YAML `FILE` whose keys are the names of these flags")
}

// defaultStateDir is where a service keeps its state; other users name theirs.
func defaultStateDir() string {
	if runtime.GOOS == "linux" && os.Geteuid() == 0 {
		return "/var/lib/proxyfleet/dataplane"
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(base, "proxyfleet", "dataplane")
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "node"
	}
	return strings.ToLower(name)
}

// check refuses what cannot work before anything is started.
func (o *options) check(f *pflag.FlagSet) error {
	if !resource.ValidName(o.nodeID) {
		return settings.Usage("--node-id: %q: expected lower-case letters, digits, - and ., beginning and ending with a letter or digit, at most 253", o.nodeID)
	}
	if o.resources != "" && f.Changed("control-plane") {
		return settings.Usage("--resources runs a node without a control plane: leave --control-plane out")
	}
	if o.resources != "" && f.Changed("state-dir") {
		return settings.Usage("--resources is what a node without a control plane boots from: leave --state-dir out")
	}
	// Nobody could drain the node: its record would not be accepted again.
	if err := resource.CheckLabels(o.labels); err != nil {
		return settings.Usage("--labels: %v", err)
	}
	if err := o.checkControlPlanes(); err != nil {
		return err
	}
	if err := o.checkGossip(f); err != nil {
		return err
	}
	text := o.listenAddress
	if n := len(text); n > 2 && text[0] == '[' && text[n-1] == ']' {
		text = text[1 : n-1]
	}
	listen, err := netip.ParseAddr(text)
	if err != nil {
		return settings.Usage("--listen-address: %q: expected an IP address without a port", o.listenAddress)
	}
	o.listen = listen
	if err := o.checkAdmin(); err != nil {
		return err
	}
	if o.loops < 0 || o.loops > maxLoops {
		return settings.Usage("--loops: %d: expected 1 to %d, or 0 for the default", o.loops, maxLoops)
	}
	if o.loops == 0 {
		o.loops = runtime.GOMAXPROCS(0)
	}
	o.group = pressure.CgroupLimit()
	switch o.memoryLimit {
	case "":
		o.memory = o.group
	case "off":
	default:
		size, err := resource.ParseSize(o.memoryLimit)
		if err != nil || size < leastMemory {
			return settings.Usage("--memory-limit: %q: expected a size from 64MiB, or off", o.memoryLimit)
		}
		o.memory = size
	}
	if err := o.checkLog(); err != nil {
		return err
	}
	if o.drainTimeout < time.Millisecond {
		return settings.Usage("--drain-timeout: %s: expected a duration from 1ms", o.drainTimeout)
	}
	if err := o.level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return settings.Usage("--log-level: %q: expected debug, info, warn or error", o.logLevel)
	}
	return nil
}

func (o *options) checkControlPlanes() error {
	if o.resources != "" {
		return nil
	}
	if len(o.controlPlanes) == 0 {
		return settings.Usage("--control-plane: expected HOST:PORT, such as %s; without a control plane a node runs on --resources", defaultControlPlane)
	}
	for _, address := range o.controlPlanes {
		if err := feed.CheckAddress(address, o.insecure); err != nil {
			return settings.Usage("--control-plane: %v", err)
		}
	}
	return nil
}

// checkAdmin: package admin refuses such an address too, when it is open. Here it is a
// flag that is wrong.
func (o *options) checkAdmin() error {
	address, err := netip.ParseAddrPort(o.adminAddress)
	if err != nil {
		return settings.Usage("--admin-address: %q: expected an IP address and a port, such as %s", o.adminAddress, defaultAdmin)
	}
	if !o.insecure && !address.Addr().Unmap().IsLoopback() {
		return settings.Usage("--admin-address: %q is not a loopback address, and whoever reaches it may read the configuration: "+
			"use %s, or say --insecure on a network you trust", o.adminAddress, defaultAdmin)
	}
	return nil
}

// leastLog keeps a slip of a unit from rotating with every write.
const leastLog = 1 << 20

func (o *options) checkLog() error {
	if o.logMaxSize != "off" {
		size, err := resource.ParseSize(o.logMaxSize)
		if err != nil || size < leastLog || size > math.MaxInt64 {
			return settings.Usage("--access-log-max-size: %q: expected a size from 1MiB, or off", o.logMaxSize)
		}
		o.logMax = int64(size)
	}
	if o.logKeep < 1 || o.logKeep > maxLogKeep {
		return settings.Usage("--access-log-keep: %d: expected 1 to %d", o.logKeep, maxLogKeep)
	}
	return nil
}
