package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"

	"github.com/proxyfleet/proxyfleet/dataplane/admin"
	"github.com/proxyfleet/proxyfleet/dataplane/agent"
	"github.com/proxyfleet/proxyfleet/dataplane/evloop"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/fleetstate"
	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
)

const (
	agentCommand = "vip-agent"
	// noGossip is what status says of virtual IPs on a node without gossip.
	noGossip = "gossip is off on this node: it needs --gossip-key-file, --insecure, or a --gossip-address on loopback"
)

// away is a reason for which the node holds nothing.
type away uint8

const (
	isDrained away = iota
	handsOver
	leavesForGood
	reasons
)

// says is the reason for people.
func (a away) says(node string) string {
	switch a {
	case isDrained:
		return "it is drained: proxyctl undrain " + node
	case handsOver:
		return "it is being upgraded"
	case leavesForGood:
		return "it stops"
	case reasons:
	}
	return ""
}

// vips is the node's part in virtual IPs.
type vips struct {
	options    options
	logger     *slog.Logger
	supervisor *agent.Supervisor // nil: gossip is off
	lists      *fleetstate.Lists
	changed    wakeup.Signal   // a Status should be sent
	probe      selfProbe       // nil where supervisor is
	begin      <-chan struct{} // closed when this process is the node's; set before parts start
	listsDir   string          // where lists are kept; likewise

	// guarded by mu
	mu           sync.Mutex
	names        []string // of the virtual IPs of the table
	reason       [reasons]bool
	forgot       bool // the list that was kept: see takesNoPart
	cannotForget bool
	told         uint64 // the revision of the last list, where the node takes no part
}

// selfProbe asks whether a client would be served.
type selfProbe interface {
	Run(ctx context.Context) error
	// Fault is why not; empty: it would.
	Fault() string
}

func newVIPs(o options, e *evloop.Engine, messages io.Writer, logger *slog.Logger) *vips {
	v := &vips{options: o, logger: logger, changed: wakeup.NewSignal()}
	v.lists = fleetstate.NewLists(v.goBy, logger)
	if o.gossipAddress == "" {
		if o.resources == "" {
			logger.Info("gossip is off: this node takes no part in virtual IPs", "on", "--gossip-key-file, --insecure, or a --gossip-address on loopback")
		}
		return v
	}
	pulse := e.Pulse()
	v.probe = e.SelfProbe()
	v.supervisor = agent.New(agent.Config{
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
		Logger:  logger,
	})
	return v
}

// mayHold says whether this node may come to hold a virtual IP.
func (o *options) mayHold(v *table.VirtualIP) bool {
	return o.gossipAddress != "" && !o.witness && v.Eligible(o.nodeID, func(name string) (value string, ok bool) {
		value, ok = o.labels[name]
		return value, ok
	})
}

// remember takes up the list that was kept in a directory, or forgets it.
func (v *vips) remember(dir string) {
	v.listsDir = dir
	if v.takesNoPart() {
		return
	}
	if list := v.lists.Remember(dir); v.supervisor != nil && list.Revision != 0 {
		v.supervisor.SetList(list.Revision, list.IDs)
	}
}

// takesNoPart says that the node grants nothing, by whatever list, and will by none that
// there was: it does not gossip, and has forgotten the list that it kept when it did. So
// a fleet that turns gossip on goes by a list of then, whatever became of its machines. In
// an upgrade the process before may keep lists until this one serves.
func (v *vips) takesNoPart() bool {
	if v.supervisor != nil {
		return false
	}
	select {
	case <-v.begin:
	default:
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.forgot || v.cannotForget {
		return v.forgot
	}
	if v.listsDir != "" {
		if err := lastgood.ForgetList(v.listsDir); err != nil {
			v.logger.Error("virtual IPs: this node counts as one that grants", "error", err)
			v.cannotForget = true
			return false
		}
	}
	v.forgot = true
	return true
}

// take takes the list of expected members, if the node goes by one. One that the control
// plane has for a node that grants nothing still may not be the latest: the next one tells.
func (v *vips) take(s *fleetv1.FleetState) {
	i := slices.IndexFunc(s.GetMembers(), func(m *fleetv1.Member) bool { return m.GetNodeId() == v.options.nodeID })
	switch {
	case v.takesNoPart():
		v.mu.Lock()
		news := v.told != s.GetListRevision()
		v.told = s.GetListRevision()
		v.mu.Unlock()
		if news { // a control plane of an older build waits for its word
			v.changed.Send()
		}
	case v.supervisor != nil && i >= 0 && s.GetMembers()[i].GetGrantsNothing():
	default:
		v.lists.Take(s)
	}
}

// goBy goes by a list of expected members from now on.
func (v *vips) goBy(list member.List) {
	if v.supervisor != nil {
		v.supervisor.SetList(list.Revision, list.IDs) // it says when that is in force
	} else {
		v.changed.Send()
	}
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
	if v.takesNoPart() {
		<-ctx.Done()
		return nil
	}
	v.lists.Recall()                         // before the vip-agent grants by the list before
	wait.Go(func() { _ = v.lists.Run(ctx) }) // it ends with ctx alone
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

// resign lets go of what the node holds, to a successor if one is ready in time,
// and takes nothing until the reason is gone.
func (v *vips) resign(ctx context.Context, why away) {
	v.mu.Lock()
	v.reason[why] = true
	v.mu.Unlock()
	if v.supervisor != nil {
		v.supervisor.Resign(ctx)
	}
}

// resume takes a reason back.
func (v *vips) resume(why away) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reason[why] = false
	if v.supervisor != nil && v.reason == ([reasons]bool{}) {
		v.supervisor.Resume()
	}
}

// say is what the control plane is told.
func (v *vips) say() feed.VIPs {
	v.mu.Lock()
	names, why := v.names, v.whyAway()
	v.mu.Unlock()
	list := v.lists.List()
	said := feed.VIPs{Kept: list, GrantsBy: list.Revision}
	if v.takesNoPart() {
		v.mu.Lock()
		said = feed.VIPs{GrantsBy: v.told, GrantsNothing: true}
		v.mu.Unlock()
	}
	if v.supervisor != nil {
		said.GrantsBy, said.Statuses = v.supervisor.ListRevision(), explain(v.supervisor.Statuses(), why)
		return said
	}
	for _, name := range names {
		said.Statuses = append(said.Statuses, &fleetv1.VipStatus{Vip: name, State: fleetv1.VipStatus_IDLE, NotEligible: noGossip})
	}
	return said
}

// whyAway is a reason for taking no virtual IP that only the main process knows; empty:
// there is none. mu is held.
func (v *vips) whyAway() string {
	for why := range reasons {
		if v.reason[why] {
			return why.says(v.options.nodeID)
		}
	}
	if v.probe != nil && v.probe.Fault() != "" {
		return "its self-probe fails: " + v.probe.Fault()
	}
	return ""
}

// explain gives the reason to those that have none, or the agent's less telling one of
// the same. What else the agent says stands: it would keep the node from that virtual
// IP without this reason too.
func explain(statuses []*fleetv1.VipStatus, why string) []*fleetv1.VipStatus {
	if why == "" {
		return statuses
	}
	for i, s := range statuses {
		switch s.GetNotEligible() {
		case "", agent.HasResigned, agent.HandsOver, agent.FailsItsSelfProbe:
		default:
			continue
		}
		s = proto.CloneOf(s) // it is shared
		s.NotEligible = why
		statuses[i] = s
	}
	return statuses
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
