package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

const (
	// maxSilence is how long an agent may say nothing until it is killed and
	// replaced. Its virtual IPs are cut much sooner.
	maxSilence = 5 * time.Second
	// exitWait is how long an agent may take to say goodbye.
	exitWait = 2 * time.Second
	// cutAfter is what an agent that runs has to let go by itself: less than the 45 ms
	// that package vip leaves, and as much of it as there is for a report that a busy
	// machine delays.
	cutAfter = int64(40 * time.Millisecond)
	// hearLooks is how often a lease is waited for, a millisecond each time, that may
	// have come and was not read yet, by a process that gets too little of the
	// processor: whoever reads waits for its turn, as whoever looks does. hearAfter is how long
	// after its end a lease is past that: it was this process that was stopped.
	hearLooks = 100
	hearAfter = int64(time.Second)
)

// life is one agent's, seen from the main process.
type life struct {
	s     *Supervisor
	conn  *conn
	pulse int // the write end
	cmd   *exec.Cmd

	sooner wakeup.Signal // a lease is new
	owing  wakeup.Signal // owed is not empty; closed when it can be no more

	saying sync.Mutex // held by whoever sends

	// guarded by mu
	mu         sync.Mutex
	copies     map[uint64]*shared
	latest     map[netip.AddrPort]uint64 // of the copies of one address: it replaced the others
	owed       map[netip.AddrPort]bool   // what the engine has not followed yet
	looks      int                       // in a row with a lease that has run out and something unread
	heard      time.Time
	complained time.Time // of a socket that is not served
}

// once runs one agent to its end.
func (s *Supervisor) once(ctx context.Context) error {
	l, err := s.start()
	if err != nil {
		return err
	}
	defer l.end()
	if err := l.conn.send(&fleetv1.ToAgent{Message: &fleetv1.ToAgent_Start{Start: s.c.Start}}, noFD); err != nil {
		return err
	}
	ending, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer close(l.owing)
	wait.Go(l.work)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	parts.Go(func() { l.tell(ending) })
	parts.Go(func() { l.watch(ending) })
	defer l.conn.close() // so that nobody waits for the agent
	stop := context.AfterFunc(ending, l.conn.close)
	defer stop()
	return l.hear()
}

// start makes the process.
func (s *Supervisor) start() (*life, error) {
	c, peer, err := pair()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		c.close()
		return nil, fmt.Errorf("vip-agent: pipe: %w", err)
	}
	reader := os.NewFile(uintptr(pipe[0]), "pulse")
	defer reader.Close()
	cmd := s.c.Command()
	cmd.ExtraFiles = []*os.File{peer, reader} // MainFD, PulseFD
	// One that is stopped would outlive this process, and keep its addresses.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGCONT}
	if err := cmd.Start(); err != nil {
		c.close()
		unix.Close(pipe[1])
		return nil, fmt.Errorf("vip-agent: %w", err)
	}
	s.note(func(st *State) { st.PID = cmd.Process.Pid })
	l := newLife(s, c)
	l.pulse, l.cmd = pipe[1], cmd
	return l, nil
}

func newLife(s *Supervisor, c *conn) *life {
	return &life{
		s: s, conn: c, sooner: wakeup.NewSignal(), owing: wakeup.NewSignal(),
		copies: map[uint64]*shared{}, latest: map[netip.AddrPort]uint64{}, owed: map[netip.AddrPort]bool{}, heard: time.Now(),
	}
}

// end takes everything back, and waits for the process.
func (l *life) end() {
	l.conn.close()
	unix.Close(l.pulse) // in case that the agent does not look at the other
	timer := time.AfterFunc(exitWait, func() { _ = l.cmd.Process.Kill() })
	defer timer.Stop()
	err := l.cmd.Wait()
	l.s.log.Debug("vip-agent: process ended", "pid", l.cmd.Process.Pid, "error", err)
}

// hear takes what the agent says until its end, and drops its sockets then.
func (l *life) hear() error {
	defer l.dropAll()
	for {
		var m fleetv1.FromAgent
		fd, err := l.conn.receive(&m)
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.heard = time.Now()
		l.mu.Unlock()
		if m.GetSocket() == nil && fd != noFD {
			unix.Close(fd)
			return fmt.Errorf("%w: %T with a descriptor", errMessage, m.GetMessage())
		}
		switch m := m.GetMessage().(type) {
		case *fleetv1.FromAgent_Socket:
			err = l.take(m.Socket, fd)
		case *fleetv1.FromAgent_Closed:
			l.drop(m.Closed.GetNumber())
		case *fleetv1.FromAgent_Leases:
			l.lease(m.Leases.GetLeases())
		case *fleetv1.FromAgent_Report:
			l.report(m.Report)
		default:
			err = fmt.Errorf("%w: empty", errMessage)
		}
		if err != nil {
			return err
		}
	}
}

// lease lets copies listen for longer.
func (l *life) lease(leases []*fleetv1.AgentLease) {
	until := make(map[netip.Addr]int64, len(leases))
	for _, lease := range leases {
		if ip, err := netip.ParseAddr(lease.GetAddress()); err == nil {
			until[ip] = lease.GetUntil()
		}
	}
	l.mu.Lock()
	for _, c := range l.copies {
		c.until = max(c.until, until[c.address.Addr()])
	}
	l.mu.Unlock()
	l.sooner.Send()
}

// report takes over how things stand.
func (l *life) report(r *fleetv1.AgentReport) {
	var before *fleetv1.AgentReport
	var silent bool
	l.s.note(func(st *State) {
		before = st.Report
		silent = st.Silent
		st.Running, st.Report, st.Silent = true, r, false
	})
	if silent || news(before, r) {
		l.s.c.Changed()
	}
}

// news says whether others should hear of a report.
func news(a, b *fleetv1.AgentReport) bool {
	if a.GetListRevision() != b.GetListRevision() || len(a.GetVips()) != len(b.GetVips()) {
		return true
	}
	for i, v := range a.GetVips() {
		w := b.GetVips()[i]
		if v.GetVip() != w.GetVip() || v.GetState() != w.GetState() || v.GetHolder() != w.GetHolder() ||
			v.GetHolds() != w.GetHolds() || v.GetConflict() != w.GetConflict() || v.GetAlive() != w.GetAlive() || v.GetNotEligible() != w.GetNotEligible() {
			return true
		}
	}
	return false
}

// say sends one message.
func (l *life) say(m *fleetv1.ToAgent) error {
	l.saying.Lock()
	defer l.saying.Unlock()
	return l.conn.send(m, noFD)
}

// tell passes on what is wanted.
func (l *life) tell(ctx context.Context) {
	var said *fleetv1.AgentWanted
	for {
		if w := l.s.latest(); !proto.Equal(w, said) {
			said = w
			if err := l.say(&fleetv1.ToAgent{Message: &fleetv1.ToAgent_Wanted{Wanted: w}}); err != nil {
				if errors.Is(err, errTooLong) {
					l.s.log.Error("vip-agent: it cannot be told which virtual IPs there are", "error", err)
				}
				l.conn.close()
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-l.s.changed:
		}
	}
}

// watch gives signs of life, and ends the sockets of virtual IPs whose lease runs
// out: an agent that is stopped does not do it.
func (l *life) watch(ctx context.Context) {
	last := time.Now()
	next := last
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.sooner:
		case <-timer.C:
		}
		now := time.Now()
		if now.Sub(last) > silence { // it was this process that was stopped
			l.excuse(last, now)
		}
		last = now
		if !now.Before(next) {
			next = now.Add(pulseEvery)
			l.beat()
			if l.silentFor(now) > maxSilence {
				l.s.log.Error("vip-agent: says nothing; it is killed", "pid", l.cmd.Process.Pid)
				_ = l.cmd.Process.Kill()
				l.conn.close()
				return
			}
		}
		timer.Reset(min(l.cut(), time.Until(next)))
	}
}

// excuse takes a time in which this process did not run from what the agent was silent
// for. What went before counts still: on a machine that halts again and again an agent
// that is stopped would never be killed.
func (l *life) excuse(from, to time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.heard = l.heard.Add(to.Sub(from)); l.heard.After(to) {
		l.heard = to
	}
}

func (l *life) silentFor(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Sub(l.heard)
}

// beat writes a sign of life if there is one. A pipe that is full belongs to an
// agent that does not run.
func (l *life) beat() {
	alive, healthy := l.s.c.Pulse()
	if !alive {
		return
	}
	_, _ = unix.Write(l.pulse, pulse{boottime(), healthy}.append(make([]byte, 0, pulseSize)))
}

// cut ends what has run out, and says after what time to look again.
func (l *life) cut() time.Duration {
	unread := l.conn.unread()
	l.mu.Lock()
	now, next := boottime(), int64(pulseEvery)
	var over []netip.AddrPort
	late := false
	for _, c := range l.copies {
		switch left := c.until + cutAfter - now; {
		case c.ended:
		case left > 0:
			next = min(next, left)
		case unread && l.looks < hearLooks && left > -hearAfter:
			late, next = true, min(next, int64(time.Millisecond))
		default:
			c.ended = true
			if listens(c.fd) { // else the agent did it, and will say so
				endListening(c.fd)
				over = append(over, c.address)
			}
		}
	}
	if late {
		l.looks++
	} else {
		l.looks = 0
	}
	l.mu.Unlock()
	if len(over) > 0 { // one line: by whoever writes it the next sign of life is late
		l.s.log.Warn("virtual IPs: the vip-agent is silent; its sockets are ended", "number", len(over), "first", over[0])
		l.s.note(func(st *State) { st.Cut += len(over); st.Silent = true })
		l.s.c.Changed()
	}
	return time.Duration(next)
}
