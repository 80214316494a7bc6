package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"os/exec"
	"sync"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
	"google.golang.org/protobuf/proto"
)

const (
	// firstPause and lastPause are between two agents; they double from one to the
	// other, and begin anew after an agent that lived for stable.
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
	stable     = 10 * time.Second
	// handOverFor is how long a planned end waits for a successor: gossip takes
	// some 200 ms to tell the others.
	handOverFor = time.Second
	// letGoFor is how long the agent may take to let go after that.
	letGoFor = 500 * time.Millisecond
)

// Engine is what takes connections from the sockets of virtual IPs.
type Engine interface {
	// Share has it take them from the descriptors, of which it makes copies; failed are the
	// addresses of those from which it does not.
	Share(ctx context.Context, sockets map[netip.AddrPort]int) (failed map[netip.AddrPort]error)
	// Unshare ends that. Connections end after the answer at hand.
	Unshare(ctx context.Context, addresses ...netip.AddrPort) error
}

// Config says who the node is and what it stands on. All fields but Changed are
// required.
type Config struct {
	// Start is what each agent is told first.
	Start *fleetv1.AgentStart
	// Command makes an agent's process: a program that calls Run. Its descriptors
	// are for the Supervisor to set.
	Command func() *exec.Cmd
	Engine  Engine
	// Pulse is asked every 50 ms: do all loops turn, and would a client be served?
	// It must not block.
	Pulse func() (alive, healthy bool)
	// Changed is called when who holds what, or the list in force, has changed; it
	// must not block.
	Changed func()
	Logger  *slog.Logger
}

// State is how the agent stands.
type State struct {
	// Running: it is there and has said so.
	Running bool
	// Restarts counts the agents after the first.
	Restarts int
	// PID is the agent's.
	PID int
	// Problem is why the last agent ended.
	Problem string
	// Report is the last of the agent that runs; nil: there is none yet. It is
	// shared: not to be changed.
	Report *fleetv1.AgentReport
	// Silent: sockets were ended since the last report, since no other came.
	Silent bool
	// Cut counts virtual IPs whose sockets were ended since the agent was silent.
	Cut int
}

// Supervisor is the main process's half: it runs an agent, and another when that
// ends.
type Supervisor struct {
	// immutable
	c       Config
	log     *slog.Logger
	changed wakeup.Signal // wanted has changed

	// guarded by mu
	mu     sync.Mutex
	wanted *fleetv1.AgentWanted // replaced, never changed
	state  State
	news   chan struct{} // closed and replaced when state changes
}

// New returns a Supervisor. It starts nothing.
func New(c Config) *Supervisor {
	if c.Changed == nil {
		c.Changed = func() {}
	}
	return &Supervisor{
		c: c, log: c.Logger, changed: wakeup.NewSignal(), news: make(chan struct{}),
		wanted: &fleetv1.AgentWanted{Serial: 1, Mode: fleetv1.AgentWanted_READY},
	}
}

// Run keeps an agent running until ctx ends; then the agent lets go, says goodbye
// to the others and ends.
func (s *Supervisor) Run(ctx context.Context) error {
	pause := firstPause
	for {
		began := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) >= stable {
			pause = firstPause
		}
		s.log.Error("vip-agent: ended; virtual IPs are let go until another runs", "error", err, "restart_in", pause)
		s.note(func(st *State) {
			st.Running, st.Report, st.Silent, st.PID, st.Problem = false, nil, false, 0, err.Error()
			st.Restarts++
		})
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
		pause = min(2*pause, lastPause)
	}
}

// SetVIPs says which virtual IPs there are, and where listeners listen on them.
func (s *Supervisor) SetVIPs(vips []*fleetv1.AgentVip) {
	s.want(func(w *fleetv1.AgentWanted) { w.Vips = vips })
}

// SetList says who the expected members are. Lists of one revision are equal.
func (s *Supervisor) SetList(revision uint64, ids []string) {
	s.want(func(w *fleetv1.AgentWanted) { w.ListRevision, w.List = revision, ids })
}

// Resign lets go of what the node holds: to a successor if one is ready in time.
// When it returns the node holds nothing, and takes nothing until Resume.
func (s *Supervisor) Resign(ctx context.Context) {
	s.setMode(fleetv1.AgentWanted_HANDING_OVER)
	handingOver, cancel := context.WithTimeout(ctx, handOverFor)
	s.await(handingOver, func(st *State) bool { return s.holdsNothing(st) || alone(st.Report) })
	cancel()
	s.setMode(fleetv1.AgentWanted_RESIGNED)
	lettingGo, cancel := context.WithTimeout(ctx, letGoFor)
	defer cancel()
	s.await(lettingGo, s.holdsNothing)
}

// Resume takes part again.
func (s *Supervisor) Resume() { s.setMode(fleetv1.AgentWanted_READY) }

// State is how the agent stands now.
func (s *Supervisor) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *Supervisor) setMode(m fleetv1.AgentWanted_Mode) {
	s.want(func(w *fleetv1.AgentWanted) { w.Mode = m })
}

// want changes what is wanted.
func (s *Supervisor) want(change func(*fleetv1.AgentWanted)) {
	s.mu.Lock()
	old := s.wanted
	next := &fleetv1.AgentWanted{
		Serial: old.GetSerial() + 1, Mode: old.GetMode(),
		ListRevision: old.GetListRevision(), List: old.GetList(), Vips: old.GetVips(),
	}
	change(next)
	next.Serial = old.GetSerial()
	if !proto.Equal(next, old) {
		next.Serial++
		s.wanted = next
	}
	s.mu.Unlock()
	s.changed.Send()
}

// latest is what is wanted now.
func (s *Supervisor) latest() *fleetv1.AgentWanted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted
}

// note changes the state and tells whoever waits.
func (s *Supervisor) note(change func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
	close(s.news)
	s.news = make(chan struct{})
}

// await waits until the state is as it should be, or ctx ends. mu is held while
// is is called.
func (s *Supervisor) await(ctx context.Context, is func(*State) bool) {
	for {
		s.mu.Lock()
		done, news := is(&s.state), s.news
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
	}
}

// holdsNothing says that the agent has heard what is wanted and holds nothing. mu
// is held.
func (s *Supervisor) holdsNothing(st *State) bool {
	if st.Report == nil {
		return true // an agent that has not spoken yet has not been granted anything
	}
	if st.Report.GetSerial() < s.wanted.GetSerial() {
		return false
	}
	for _, v := range st.Report.GetVips() {
		if v.GetState() == fleetv1.VipStatus_HOLDING {
			return false
		}
	}
	return true
}

// alone says that there is nobody to hand over to.
func alone(r *fleetv1.AgentReport) bool { return len(r.GetMembers()) <= 1 }

// Statuses says of each virtual IP that is wanted how it stands. Each is shared: not
// to be changed.
func (s *Supervisor) Statuses() []*fleetv1.VipStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := map[string]*fleetv1.VipStatus{}
	for _, v := range s.state.Report.GetVips() {
		said[v.GetVip()] = v
	}
	var all []*fleetv1.VipStatus
	for _, w := range s.wanted.GetVips() {
		v := said[w.GetName()]
		if v == nil {
			v = &fleetv1.VipStatus{Vip: w.GetName(), State: fleetv1.VipStatus_IDLE, NotEligible: "the vip-agent is starting"}
		}
		if s.state.Silent && v.GetHolds() {
			v = proto.CloneOf(v)
			v.Holds, v.NotEligible = false, "the vip-agent is silent: nothing listens any more"
		}
		all = append(all, v)
	}
	return all
}

// ListRevision is the list by which the node grants, from now on: where no agent
// runs, the one that the next will be told.
func (s *Supervisor) ListRevision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.state.Report; r.GetSerial() > 0 {
		return r.GetListRevision()
	}
	return s.wanted.GetListRevision()
}
