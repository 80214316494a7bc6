package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/admin"
	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/handover"
	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// maxAddress is how long the text of an address with its port gets, for one of IPv6 whose
// zone, if it has one, is the name of an interface.
const maxAddress = len("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%fifteen-letters]:65535")

// takeover is the new process's side of a hand-over.
type takeover struct {
	conn    *handover.Conn
	state   handoverState
	sockets map[netip.AddrPort][]int
	admin   *os.File // nil: none came
	address string   // of admin, as the old process was told it

	once    sync.Once
	warm    chan struct{} // closed when only taking connections is left
	applied chan error    // the first outcome
	begin   chan struct{} // closed when the old process follows nobody any more
}

// openTakeover receives what an old process gives; nil: this process was started
// on its own.
func openTakeover(getenv func(string) (string, bool)) (*takeover, error) {
	text, ok := getenv(handoverVariable)
	if !ok {
		return nil, nil
	}
	if err := os.Unsetenv(handoverVariable); err != nil {
		return nil, err
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < handoverFD {
		return nil, fmt.Errorf("%s=%q: expected a descriptor", handoverVariable, text)
	}
	t := &takeover{
		sockets: map[netip.AddrPort][]int{},
		warm:    make(chan struct{}), applied: make(chan error, 1), begin: make(chan struct{}),
	}
	if t.conn, err = handover.Open(fd); err != nil {
		return nil, err
	}
	if err := t.receive(); err != nil {
		t.fail(err)
		return nil, err
	}
	return t, nil
}

// receive hears the old process's part up to State.
func (t *takeover) receive() error {
	if err := t.conn.Send(handover.Message{Kind: handover.Hello, Text: handover.Protocol}); err != nil {
		return err
	}
	for total := 0; total <= handover.MaxSockets; {
		m, err := t.conn.ReceiveAny()
		if err != nil {
			return err
		}
		switch m.Kind {
		case handover.Socket:
			address, err := netip.ParseAddrPort(m.Text)
			if err != nil {
				return fmt.Errorf("%w: %w", handover.ErrMessage, err)
			}
			t.sockets[address] = append(t.sockets[address], m.FDs...)
			total += len(m.FDs)
		case handover.Admin:
			t.admin, t.address = os.NewFile(uintptr(m.FDs[0]), "admin"), m.Text
		case handover.State:
			if err := json.Unmarshal([]byte(m.Text), &t.state); err != nil {
				return fmt.Errorf("%w: %w", handover.ErrMessage, err)
			}
			return nil
		default:
			return fmt.Errorf("%w: %s, expected sockets", handover.ErrMessage, m.Kind)
		}
	}
	return fmt.Errorf("%w: more than %d sockets", handover.ErrMessage, handover.MaxSockets)
}

// fail tells the old process, which goes on.
func (t *takeover) fail(err error) {
	text := err.Error()
	if len(text) > handover.MaxText {
		text = text[:handover.MaxText]
	}
	_ = t.conn.Send(handover.Message{Kind: handover.Failed, Text: text})
	_ = t.conn.Close()
}

// check refuses to serve something else than the old process does.
func (t *takeover) check(n *node, saved lastgood.Saved, ok bool) error {
	if t.state.NodeID != n.options.nodeID {
		return fmt.Errorf("hand-over: this is node %q, the running one %q", n.options.nodeID, t.state.NodeID)
	}
	if t.state.Running == nil {
		return nil
	}
	if !ok {
		return errors.New("hand-over: there is no last known good configuration to begin with")
	}
	have := api.Version{Epoch: saved.Version.Epoch, Revision: saved.Version.Revision, Digest: saved.Tree.Root().String()}
	if have != *t.state.Running {
		return fmt.Errorf("hand-over: the last known good configuration is %d.%d, the running node serves %d.%d", have.Epoch, have.Revision, t.state.Running.Epoch, t.state.Running.Revision)
	}
	// The feed will compile it once more; here a refusal still has an answer.
	if _, problems := compile.Compile(n.permit, nil, saved.Tree, saved.Version); len(problems) > 0 {
		return fmt.Errorf("hand-over: this build does not take the configuration that is served: %d problems, the first: %s", len(problems), problems[0].String())
	}
	return nil
}

// suspend keeps the engine as the old process has its own, until Go.
func (t *takeover) suspend(n *node) error {
	if t.state.Drained {
		n.drainer.wanted.Store(true)
		n.drainer.done.Store(true)
		n.vips.resign(context.Background(), isDrained)
		if err := n.engine.SetDrained(context.Background(), true); err != nil {
			return err
		}
	}
	return n.engine.Suspend(context.Background())
}

// listenAdmin takes the admin address's socket if the address is still the same.
func (t *takeover) listenAdmin(ctx context.Context, o options) (net.Listener, error) {
	if t.admin == nil {
		return admin.Listen(ctx, o.adminAddress, o.insecure)
	}
	defer t.admin.Close()
	if t.address != o.adminAddress {
		return admin.Listen(ctx, o.adminAddress, o.insecure)
	}
	l, err := net.FileListener(t.admin)
	if err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	return admin.Adopt(l, o.insecure)
}

// arrived is called when there is a table to apply.
func (t *takeover) arrived() { t.once.Do(func() { close(t.warm) }) }

// outcome is called with what became of applying.
func (t *takeover) outcome(err error) {
	select {
	case t.applied <- err:
	default: // only the first counts
	}
}

// run is the conversation from Warm on, a part of the process.
func (t *takeover) run(ctx context.Context, n *node) error {
	if err := t.take(ctx, n); err != nil {
		t.fail(err)
		return err
	}
	t.settle(n)
	<-ctx.Done()
	return nil
}

func (t *takeover) take(ctx context.Context, n *node) error {
	stop := context.AfterFunc(ctx, func() { _ = t.conn.Close() })
	defer stop()
	if t.state.Running != nil {
		select {
		case <-t.warm:
		case err := <-t.applied:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := t.conn.Send(handover.Message{Kind: handover.Warm}); err != nil {
		return err
	}
	if _, err := t.conn.Receive(handover.Go); err != nil {
		return err
	}
	n.engine.Resume()
	if t.state.Running != nil {
		select {
		case err := <-t.applied:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return t.sayReady(n.engine.CloseUnclaimed())
}

// sayReady says that this process serves, and which addresses it has no use for: those
// of a node whose --listen-address was changed may be more than a message holds.
func (t *takeover) sayReady(unclaimed []netip.AddrPort) error {
	var text []byte
	for _, address := range unclaimed {
		if len(text)+len(" ")+maxAddress > handover.MaxText {
			if err := t.conn.Send(handover.Message{Kind: handover.Unclaimed, Text: string(text)}); err != nil {
				return err
			}
			text = text[:0]
		}
		text = address.AppendTo(append(text, ' '))
	}
	return t.conn.Send(handover.Message{Kind: handover.Ready, Text: string(text)})
}

// settle waits for the old process to let go. One that ended meanwhile has.
func (t *takeover) settle(n *node) {
	defer func() { _ = t.conn.Close() }()
	err := t.conn.SetDeadline(time.Now().Add(3 * turnTimeout))
	if err == nil {
		_, err = t.conn.Receive(handover.Done)
	}
	if err != nil {
		n.logger.Warn("hand-over: the old process did not say that it has let go", "error", err)
	}
	n.control.claim()
	close(t.begin)
	if err := t.conn.Send(handover.Message{Kind: handover.Settled}); err != nil {
		n.logger.Debug("hand-over: the old process is gone", "error", err)
	}
	n.logger.Info("node took over", "node", n.options.nodeID)
}
