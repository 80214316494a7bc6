package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/handover"
	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

const (
	// handoverVariable tells a new process that it takes over, and from which
	// descriptor.
	handoverVariable = "PROXYFLEET_HANDOVER_FD"
	// handoverFD is where os/exec puts the first extra file.
	handoverFD = 3
	// turnTimeout bounds the last steps, which cost each side milliseconds. A
	// process that was told to take connections gets it whatever time is left.
	turnTimeout = 10 * time.Second
	// exitWait is how long a new process that went silent may take to end before
	// it is killed.
	exitWait = time.Second
)

// handoverState is what the new process has to serve.
type handoverState struct {
	NodeID  string `json:"nodeId"`
	Drained bool   `json:"drained"`
	BootID  string `json:"bootId"`
	// Running is in force in the old process, and in its last known good file; nil:
	// nothing is.
	Running *api.Version `json:"running,omitempty"`
}

// successor is the process that is to take over.
type successor struct {
	conn   *handover.Conn
	cmd    *exec.Cmd
	exited chan struct{}
	status error       // after exited
	heavy  atomic.Bool // it was killed for want of memory
}

// handOver starts a program and gives it this node's sockets. After nil this
// process listens nowhere, follows no control plane, and only has its connections
// to end. After an error everything is as before.
func (n *node) handOver(ctx context.Context, ask upgradeRequest, say func(format string, args ...any)) (pid int, err error) {
	path, err := program(ask.Binary)
	if err != nil {
		return 0, err
	}
	if os.Getpid() == 1 {
		return 0, errors.New("this node is process 1 of its container, which ends with it: start another container instead")
	}
	deadline := time.Now().Add(ask.timeout())
	s, err := n.startSuccessor(path)
	if err != nil {
		return 0, err
	}
	say("%s started as process %d", path, s.pid())
	release := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	defer release()
	unwatch := n.watchSuccessor(s)
	err = n.prepareSuccessor(ctx, s, deadline, say)
	unwatch()
	if err != nil {
		return 0, s.gaveUp(ctx, err, ask.timeout())
	}
	// The engine is held now: what runs here stays what the new process loaded.
	n.vips.resign(ctx, handsOver)
	unclaimed, err := s.letGo(release)
	if err != nil {
		n.vips.resume(handsOver)
		err = s.gaveUp(ctx, err, turnTimeout)
		n.engine.Resume()
		return 0, err
	}
	if n.memory != nil {
		n.memory.Beside(s.pid())
	}
	n.leave(s, unclaimed)
	say("process %d serves", s.pid())
	return s.pid(), nil
}

// program is the path of the new program: the one that was asked for, or the one
// that this process was started by, looked up again.
func program(asked string) (string, error) {
	if asked == "" {
		found, err := exec.LookPath(os.Args[0])
		if err != nil {
			if found, err = os.Executable(); err != nil {
				return "", fmt.Errorf("this program's path: %w", err)
			}
		}
		asked = found
	}
	return filepath.Abs(asked)
}

func (n *node) startSuccessor(path string) (*successor, error) {
	conn, peer, err := handover.Pair()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	cmd := exec.Command(path, n.world.args...)
	cmd.Stdout, cmd.Stderr = n.world.stdout, n.world.stderr
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, handoverVariable+"=")
	}), fmt.Sprintf("%s=%d", handoverVariable, handoverFD))
	cmd.ExtraFiles = []*os.File{peer}
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("new process: %w", err)
	}
	s := &successor{conn: conn, cmd: cmd, exited: make(chan struct{})}
	go func() {
		s.status = cmd.Wait()
		close(s.exited)
	}()
	return s, nil
}

func (s *successor) pid() int { return s.cmd.Process.Pid }

// prepareSuccessor brings the new process to where it only has to begin. When it
// returns nil the engine is held.
func (n *node) prepareSuccessor(ctx context.Context, s *successor, deadline time.Time, say func(string, ...any)) error {
	if err := s.conn.SetDeadline(deadline); err != nil {
		return err
	}
	hello, err := s.conn.Receive(handover.Hello)
	if err != nil {
		return err
	}
	if hello.Text != handover.Protocol {
		return fmt.Errorf("new process: it hands over by %q, this one by %q: restart the node instead", hello.Text, handover.Protocol)
	}
	waiting, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if err := n.engine.Suspend(waiting); err != nil {
		return err
	}
	if err = n.giveSockets(waiting, s.conn); err == nil {
		say("sockets handed over; it prepares what this node serves")
		_, err = s.conn.Receive(handover.Warm)
	}
	if err != nil {
		n.engine.Resume()
	}
	return err
}

// giveSockets shares the sockets and says what is served.
func (n *node) giveSockets(ctx context.Context, c *handover.Conn) error {
	running, err := n.standing(ctx)
	if err != nil {
		return err
	}
	if running != nil {
		if err := n.lastGood.Wait(ctx, lastgood.Saved{Version: running.Version, Tree: running.Tree}); err != nil {
			return err
		}
	}
	total := 0
	err = n.engine.EachSocket(func(address netip.AddrPort, fds []int) error {
		if total += len(fds); total > handover.MaxSockets {
			return fmt.Errorf("more than %d listening sockets: restart the node instead", handover.MaxSockets)
		}
		for part := range slices.Chunk(fds, handover.MaxFDs) {
			if err := c.Send(handover.Message{Kind: handover.Socket, Text: address.String(), FDs: part}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := n.giveAdmin(c); err != nil {
		return err
	}
	state := handoverState{NodeID: n.options.nodeID, Drained: n.engine.Drained(), BootID: n.bootID()}
	if running != nil {
		state.Running = &api.Version{Epoch: running.Version.Epoch, Revision: running.Version.Revision, Digest: running.Tree.Root().String()}
	}
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return c.Send(handover.Message{Kind: handover.State, Text: string(text)})
}

// standing is what the engine serves; nil: nothing yet. It is held, but a change that
// it was waited for may be noted a moment later.
func (n *node) standing(ctx context.Context) (*feed.InForce, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		live, running := n.engine.Live().Load().Version, n.inForce.Load()
		if running == nil && live == (table.Version{}) || running != nil && running.Version == live {
			return running, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("configuration %d.%d is being put into force: %w", live.Epoch, live.Revision, ctx.Err())
		}
	}
}

// giveAdmin shares the socket of the admin address.
func (n *node) giveAdmin(c *handover.Conn) error {
	socket, ok := n.adminListener.(syscall.Conn)
	if !ok {
		return errors.New("the admin address has no socket to hand over")
	}
	// Not File, whose descriptor would make the socket a blocking one here.
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		sent = c.Send(handover.Message{Kind: handover.Admin, Text: n.options.adminAddress, FDs: []int{int(fd)}})
	})
	return errors.Join(err, sent)
}

// letGo tells the new process to take connections. Until it says that it does,
// both do.
func (s *successor) letGo(release func() bool) (unclaimed []netip.AddrPort, err error) {
	if !release() {
		return nil, context.Canceled
	}
	if err := s.conn.SetDeadline(time.Now().Add(turnTimeout)); err != nil {
		return nil, err
	}
	if err := s.conn.Send(handover.Message{Kind: handover.Go}); err != nil {
		return nil, err
	}
	for len(unclaimed) <= handover.MaxSockets {
		m, err := s.conn.Receive(handover.Unclaimed, handover.Ready)
		if err != nil {
			return nil, err
		}
		for text := range strings.FieldsSeq(m.Text) {
			address, err := netip.ParseAddrPort(text)
			if err != nil {
				return nil, fmt.Errorf("new process: address %q: %w", text, err)
			}
			unclaimed = append(unclaimed, address)
		}
		if m.Kind == handover.Ready {
			return unclaimed, nil
		}
	}
	return nil, fmt.Errorf("new process: it leaves more than %d addresses", handover.MaxSockets)
}

// leave ends what the new process does now. Nothing here can be taken back, so
// what fails is told and passed over.
func (n *node) leave(s *successor, unclaimed []netip.AddrPort) {
	ctx, cancel := context.WithTimeout(context.Background(), turnTimeout)
	defer cancel()
	if err := n.engine.Release(ctx, unclaimed); err != nil {
		n.logger.Error("hand-over: listeners", "error", err)
	}
	n.following.end()
	n.vipPart.end()
	n.adminPart.end()
	err := s.conn.SetDeadline(time.Now().Add(turnTimeout))
	if err == nil {
		err = s.conn.Send(handover.Message{Kind: handover.Done})
	}
	if err == nil {
		_, err = s.conn.Receive(handover.Settled)
	}
	if err != nil {
		n.logger.Error("hand-over: the new process serves, but did not say that it has settled", "error", err)
	}
	_ = s.conn.Close()
	close(n.handedOver)
}

// gaveUp ends the new process and says why it does not serve.
func (s *successor) gaveUp(ctx context.Context, err error, timeout time.Duration) error {
	_ = s.conn.Close()
	wait := time.NewTimer(exitWait)
	defer wait.Stop()
	ended := true
	select {
	case <-s.exited:
	case <-wait.C:
		ended = false
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	var timedOut net.Error
	switch {
	case ctx.Err() != nil:
		return errors.New("this node is stopping")
	case s.heavy.Load():
		return fmt.Errorf("the new process was ended: with it %s of the memory limit that both share were used: restart the node instead", heavy)
	case errors.As(err, &timedOut) && timedOut.Timeout():
		return fmt.Errorf("the new process was not ready within %s and was ended", timeout)
	case errors.Is(err, handover.ErrPeer):
		return fmt.Errorf("the new process failed: %s", strings.TrimPrefix(err.Error(), handover.ErrPeer.Error()+": "))
	case errors.Is(err, handover.ErrGone) && ended:
		status := "exit status 0"
		if s.status != nil {
			status = s.status.Error()
		}
		return fmt.Errorf("the new process ended before it was ready: %s", status)
	}
	return err
}
