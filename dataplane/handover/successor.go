package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// TurnTimeout bounds the last steps, which cost each side milliseconds. A process that
// was told to take connections gets it whatever time is left.
const TurnTimeout = 10 * time.Second

// Old is the node of the old process. Its methods are called by the goroutine of Give, in
// the order in which they stand here.
type Old interface {
	// Hold keeps what is served as it is, until Resume or Leave, and says what the new
	// process gets. After an error nothing is held.
	Hold(ctx context.Context) (Estate, error)
	// Resign gives up what two processes cannot have; undo takes it back.
	Resign(ctx context.Context) (undo func())
	// Resume ends a Hold: the new process does not serve.
	Resume()
	// Leave ends what process pid does from now on: it serves. unclaimed are the addresses
	// of sockets for which that one has no use. Nothing can be taken back, so what fails is
	// told and passed over.
	Leave(ctx context.Context, pid int, unclaimed []netip.AddrPort)
}

// Estate is what the new process gets. Sockets stay the old one's too.
type Estate struct {
	Served Served
	// EachSocket shows the listening sockets by address.
	EachSocket func(visit func(address netip.AddrPort, fds []int) error) error
	// Admin listens on the admin address, which is AdminAddress as the node was told it.
	Admin        net.Listener
	AdminAddress string
}

// Served is what the new process has to serve.
type Served struct {
	NodeID  string `json:"nodeId"`
	Drained bool   `json:"drained"`
	BootID  string `json:"bootId"`
	// Running is in force in the old process, and in its last known good file; nil:
	// nothing is.
	Running *api.Version `json:"running,omitempty"`
}

// Give starts a program and gives it a node's sockets; say tells people how that goes.
// After nil this process listens nowhere, follows no control plane, and only has its
// connections to end. After an error everything is as before.
func Give(ctx context.Context, node Old, program Program, logger *slog.Logger, say func(format string, args ...any)) (pid int, err error) {
	if err := program.find(); err != nil {
		return 0, err
	}
	if os.Getpid() == 1 {
		return 0, errors.New("this node is process 1 of its container, which ends with it: start another container instead")
	}
	deadline := time.Now().Add(program.Timeout)
	s, err := program.start()
	if err != nil {
		return 0, err
	}
	say("%s started as process %d", program.Path, s.pid())
	release := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	defer release()
	unwatch := s.watch(program.Limit, logger)
	err = s.prepare(ctx, node, deadline, say)
	unwatch()
	if err != nil {
		return 0, s.gaveUp(ctx, err, program.Timeout)
	}
	// The node is held now: what runs here stays what the new process loaded.
	undo := node.Resign(ctx)
	unclaimed, err := s.sendGo(release)
	if err != nil {
		undo()
		err = s.gaveUp(ctx, err, TurnTimeout)
		node.Resume()
		return 0, err
	}
	s.leave(node, unclaimed, logger)
	say("process %d serves", s.pid())
	return s.pid(), nil
}

// prepare brings the new process to where it only has to begin. When it returns nil the
// node is held.
func (s *successor) prepare(ctx context.Context, node Old, deadline time.Time, say func(string, ...any)) error {
	if err := s.conn.SetDeadline(deadline); err != nil {
		return err
	}
	hello, err := s.conn.Receive(Hello)
	if err != nil {
		return err
	}
	if hello.Text != Protocol {
		return fmt.Errorf("new process: it hands over by %q, this one by %q: restart the node instead", hello.Text, Protocol)
	}
	waiting, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	estate, err := node.Hold(waiting)
	if err != nil {
		return err
	}
	if err = s.give(&estate); err == nil {
		say("sockets handed over; it prepares what this node serves")
		_, err = s.conn.Receive(Warm)
	}
	if err != nil {
		node.Resume()
	}
	return err
}

// give shares the sockets and says what is served.
func (s *successor) give(estate *Estate) error {
	total := 0
	err := estate.EachSocket(func(address netip.AddrPort, fds []int) error {
		if total += len(fds); total > MaxSockets {
			return fmt.Errorf("more than %d listening sockets: restart the node instead", MaxSockets)
		}
		for part := range slices.Chunk(fds, MaxFDs) {
			if err := s.conn.Send(Message{Kind: Socket, Text: address.String(), FDs: part}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.giveAdmin(estate); err != nil {
		return err
	}
	text, err := json.Marshal(estate.Served)
	if err != nil {
		return err
	}
	return s.conn.Send(Message{Kind: State, Text: string(text)})
}

// giveAdmin shares the socket of the admin address.
func (s *successor) giveAdmin(estate *Estate) error {
	socket, ok := estate.Admin.(syscall.Conn)
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
		sent = s.conn.Send(Message{Kind: Admin, Text: estate.AdminAddress, FDs: []int{int(fd)}})
	})
	return errors.Join(err, sent)
}

// sendGo tells the new process to take connections. Until it says that it does, both
// processes do.
func (s *successor) sendGo(release func() bool) (unclaimed []netip.AddrPort, err error) {
	if !release() {
		return nil, context.Canceled
	}
	if err := s.conn.SetDeadline(time.Now().Add(TurnTimeout)); err != nil {
		return nil, err
	}
	if err := s.conn.Send(Message{Kind: Go}); err != nil {
		return nil, err
	}
	for len(unclaimed) <= MaxSockets {
		m, err := s.conn.Receive(Unclaimed, Ready)
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
		if m.Kind == Ready {
			return unclaimed, nil
		}
	}
	return nil, fmt.Errorf("new process: it leaves more than %d addresses", MaxSockets)
}

// leave has the node leave, and says so.
func (s *successor) leave(node Old, unclaimed []netip.AddrPort, logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), TurnTimeout)
	defer cancel()
	node.Leave(ctx, s.pid(), unclaimed)
	err := s.conn.SetDeadline(time.Now().Add(TurnTimeout))
	if err == nil {
		err = s.conn.Send(Message{Kind: Done})
	}
	if err == nil {
		_, err = s.conn.Receive(Settled)
	}
	if err != nil {
		logger.Error("hand-over: the new process serves, but did not say that it has settled", "error", err)
	}
	_ = s.conn.Close()
}

// gaveUp ends the new process and says why it does not serve.
func (s *successor) gaveUp(ctx context.Context, err error, timeout time.Duration) error {
	_ = s.conn.Close()
	ended := s.end()
	var timedOut net.Error
	switch {
	case ctx.Err() != nil:
		return errors.New("this node is stopping")
	case s.heavy.Load():
		return fmt.Errorf("the new process was ended: with it %s of the memory limit that both share were used: restart the node instead", heavy)
	case errors.As(err, &timedOut) && timedOut.Timeout():
		return fmt.Errorf("the new process was not ready within %s and was ended", timeout)
	case errors.Is(err, ErrPeer):
		return fmt.Errorf("the new process failed: %s", strings.TrimPrefix(err.Error(), ErrPeer.Error()+": "))
	case errors.Is(err, ErrGone) && ended:
		status := "exit status 0"
		if s.status != nil {
			status = s.status.Error()
		}
		return fmt.Errorf("the new process ended before it was ready: %s", status)
	}
	return err
}
