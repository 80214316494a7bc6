package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"

	"github.com/proxyfleet/proxyfleet/dataplane/admin"
	"github.com/proxyfleet/proxyfleet/dataplane/agent"
	"github.com/proxyfleet/proxyfleet/dataplane/evloop"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
	"github.com/spf13/cobra"
)

const (
	agentCommand = "vip-agent"
	// noGossip is what status says of virtual IPs on a node without gossip.
	noGossip = "gossip is off on this node: it needs --gossip-key-file, --insecure, or a --gossip-address on loopback"
)

// vips is the node's part in virtual IPs.
type vips struct {
	// immutable
	options    options
	logger     *slog.Logger
	supervisor *agent.Supervisor // nil: gossip is off
	lists      *vipLists
	changed    wakeup.Signal   // a Status should be sent
	probe      selfProbe       // nil where supervisor is
	begin      <-chan struct{} // closed when this process is the node's

	// guarded by mu
	mu     sync.Mutex
	names  []string // of the virtual IPs of the table
	reason [reasons]bool
}

// selfProbe asks whether a client would be served.
type selfProbe interface {
	Run(ctx context.Context) error
	// Fault is why not; empty: it would.
	Fault() string
}

func newVIPs(o options, e *evloop.Engine, begin <-chan struct{}, messages io.Writer, logger *slog.Logger) *vips {
	v := &vips{options: o, logger: logger, changed: wakeup.NewSignal(), begin: begin}
	if o.gossipAddress != "" {
		v.probe = e.SelfProbe()
		v.supervisor = agent.New(v.agent(e, messages))
	} else if o.resources == "" {
		logger.Info("gossip is off: this node takes no part in virtual IPs", "on", "--gossip-key-file, --insecure, or a --gossip-address on loopback")
	}
	v.lists = newVIPLists(o.nodeID, v.supervisor, begin, v.changed, logger)
	return v
}

// agent says how the vip-agent is started, and what it has to do with the engine.
func (v *vips) agent(e *evloop.Engine, messages io.Writer) agent.Config {
	o, pulse := &v.options, e.Pulse()
	return agent.Config{
		Start: &fleetv1.AgentStart{
			NodeId: o.nodeID, Labels: o.labels, GossipAddress: o.gossipAddress, GossipJoin: o.gossipJoin,
			GossipKeyFile: o.gossipKeyFile, Insecure: o.insecure, Witness: o.witness, LogLevel: int32(o.level),
		},
		Command: func() *exec.Cmd {
			// The program that runs, also when another one lies at its path by now.
			c := exec.Command("/proc/self/exe", agentCommand)
			c.Args[0], c.Stderr = os.Args[0], messages
			return c
		},
		Engine:  e,
		Pulse:   func() (alive, healthy bool) { return pulse.Beat(), v.probe.Fault() == "" },
		Changed: v.changed.Send,
		Logger:  v.logger,
	}
}

// mayHold says whether this node may come to hold a virtual IP.
func (o *options) mayHold(v *table.VirtualIP) bool {
	return o.gossipAddress != "" && !o.witness && v.Eligible(o.nodeID, func(name string) (value string, ok bool) {
		value, ok = o.labels[name]
		return value, ok
	})
}

// Run takes part from when begin is closed until ctx ends.
func (v *vips) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	select {
	case <-ctx.Done():
		return nil
	case <-v.begin:
	}
	if v.lists.takesNoPart() {
		<-ctx.Done()
		return nil
	}
	v.lists.recall() // before the vip-agent grants by the list before
	wait.Go(func() { v.lists.run(ctx) })
	if v.supervisor == nil {
		<-ctx.Done()
		return nil
	}
	wait.Go(func() { _ = v.probe.Run(ctx) }) // it ends with ctx alone
	return v.supervisor.Run(ctx)
}

// check refuses a table that this node cannot hold the virtual IPs of.
func (v *vips) check(t *table.Table) error {
	if v.supervisor == nil || v.options.witness || !v.options.listen.IsUnspecified() {
		return nil
	}
	for i := range t.VirtualIPs {
		if x := &t.VirtualIPs[i]; x.Announce == table.AnnounceBind && len(x.Ports) > 0 {
			return fmt.Errorf("VirtualIP %q: announce BIND: the node listens on all addresses (--listen-address %s), so nothing can listen on %s alone: give it an address of its own",
				x.Name, v.options.listenAddress, x.IP)
		}
	}
	return nil
}

// follow takes over the virtual IPs of a table that is in force.
func (v *vips) follow(t *table.Table) {
	var names []string
	for i := range t.VirtualIPs {
		names = append(names, t.VirtualIPs[i].Name)
	}
	v.mu.Lock()
	told := len(v.names) > 0
	v.names = names
	v.mu.Unlock()
	if v.supervisor != nil {
		v.supervisor.SetVIPs(agent.VIPs(t))
		return
	}
	if len(names) > 0 && !told {
		v.logger.Warn("virtual IPs of the configuration are not held by this node: gossip is off", "first", names[0], "number", len(names))
	}
}

// say is what the control plane is told.
func (v *vips) say() feed.VIPs {
	v.mu.Lock()
	names, why := v.names, v.whyAway()
	v.mu.Unlock()
	said := v.lists.say()
	if v.supervisor != nil {
		said.Statuses = withReason(v.supervisor.Statuses(), why)
		return said
	}
	for _, name := range names {
		said.Statuses = append(said.Statuses, &fleetv1.VipStatus{Vip: name, State: fleetv1.VipStatus_IDLE, NotEligible: noGossip})
	}
	return said
}

// state is what the admin address shows.
func (v *vips) state() admin.VIPState {
	said := v.say()
	s := admin.VIPState{ListRevision: said.GrantsBy, Expected: said.Kept.IDs, Statuses: said.Statuses}
	if v.supervisor == nil {
		s.Off = noGossip
		return s
	}
	s.Gossip, s.Agent = v.options.gossipAddress, v.supervisor.State()
	return s
}

// newAgentCommand is the program's other life: see package agent.
func newAgentCommand(w world) *cobra.Command {
	return &cobra.Command{
		Use:    agentCommand,
		Short:  "The part of a node that takes part in virtual IPs; started by the node itself",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			// It ends with its main process, which lets go in order before.
			ignoreSignals()
			if err := agent.Run(context.Background(), w.stderr); err != nil {
				fmt.Fprintf(w.stderr, "proxy-dataplane: %v\n", err)
				return errFailed
			}
			return nil
		},
	}
}
