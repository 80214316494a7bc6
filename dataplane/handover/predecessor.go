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
	"strconv"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// maxAddress is how long the text of an address with its port gets, for one of IPv6 whose
// zone, if it has one, is the name of an interface.
const maxAddress = len("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%fifteen-letters]:65535")

// orphanWait is how long an old process that closed the conversation may take to end, if it
// has died: the kernel closes what it had open first. One that lives ends this process by
// then, at the latest exitWait after it closed the conversation.
const orphanWait = 5 * time.Second

// Engine takes the connections of the new process. It has the inherited sockets, and puts
// no table into force until Resume.
type Engine interface {
	Resume()
	// CloseUnclaimed closes the inherited sockets that no table has asked for, and says
	// which addresses these are.
	CloseUnclaimed() []netip.AddrPort
}

// Predecessor is the old process, as the new one sees it.
type Predecessor struct {
	// Served is what it serves, and Sockets are its listening sockets by address; they
	// belong to whoever takes them.
	Served  Served
	Sockets map[netip.AddrPort][]int

	conn         *Conn
	parent       int // its process id
	logger       *slog.Logger
	admin        *os.File // nil: none came
	adminAddress string   // as the old process was told it

	once    sync.Once
	warm    chan struct{} // closed when only taking connections is left
	applied chan error    // the first outcome
	begin   chan struct{} // closed when the old process follows nobody any more
}

// Inherit receives what an old process gives; nil: this process was started on its own.
func Inherit(getenv func(string) (string, bool), logger *slog.Logger) (*Predecessor, error) {
	conn, err := inherited(getenv)
	if conn == nil || err != nil {
		return nil, err
	}
	p := newPredecessor(conn, logger)
	if err := p.receive(); err != nil {
		p.Fail(err)
		return nil, err
	}
	return p, nil
}

// Refuse tells the old process, if there is one, why this one does not even begin. Once
// Inherit was called it says nothing.
func Refuse(getenv func(string) (string, bool), err error) {
	if conn, failed := inherited(getenv); conn != nil && failed == nil {
		newPredecessor(conn, nil).Fail(err)
	}
}

// inherited is the conversation with the old process, the first time; nil: there is none.
func inherited(getenv func(string) (string, bool)) (*Conn, error) {
	text, ok := getenv(Variable)
	if !ok {
		return nil, nil
	}
	if err := os.Unsetenv(Variable); err != nil {
		return nil, err
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < firstFD {
		return nil, fmt.Errorf("%s=%q: expected a descriptor", Variable, text)
	}
	return Open(fd)
}

func newPredecessor(conn *Conn, logger *slog.Logger) *Predecessor {
	return &Predecessor{
		Sockets: map[netip.AddrPort][]int{}, conn: conn, parent: os.Getppid(), logger: logger,
		warm: make(chan struct{}), applied: make(chan error, 1), begin: make(chan struct{}),
	}
}

// receive hears the old process's part up to State.
func (p *Predecessor) receive() error {
	if err := p.conn.Send(Message{Kind: Hello, Text: Protocol}); err != nil {
		return err
	}
	for total := 0; total <= MaxSockets; {
		m, err := p.conn.ReceiveAny()
		if err != nil {
			return err
		}
		switch m.Kind {
		case Socket:
			address, err := netip.ParseAddrPort(m.Text)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrMessage, err)
			}
			p.Sockets[address] = append(p.Sockets[address], m.FDs...)
			total += len(m.FDs)
		case Admin:
			p.admin, p.adminAddress = os.NewFile(uintptr(m.FDs[0]), "admin"), m.Text
		case State:
			if err := json.Unmarshal([]byte(m.Text), &p.Served); err != nil {
				return fmt.Errorf("%w: %w", ErrMessage, err)
			}
			return nil
		default:
			return fmt.Errorf("%w: %s, expected sockets", ErrMessage, m.Kind)
		}
	}
	return fmt.Errorf("%w: more than %d sockets", ErrMessage, MaxSockets)
}

// Fail tells the old process, which goes on. It says nothing once this one serves.
func (p *Predecessor) Fail(err error) {
	text := err.Error()
	if len(text) > MaxText {
		text = text[:MaxText]
	}
	_ = p.conn.Send(Message{Kind: Failed, Text: text})
	_ = p.conn.Close()
}

// Check refuses to serve something else than the old process does. have is the last known
// good configuration; nil: there is none.
func (s *Served) Check(nodeID string, have *api.Version) error {
	switch {
	case s.NodeID != nodeID:
		return fmt.Errorf("hand-over: this is node %q, the running one %q", nodeID, s.NodeID)
	case s.Running == nil:
		return nil
	case have == nil:
		return errors.New("hand-over: there is no last known good configuration to begin with")
	case *have != *s.Running:
		return fmt.Errorf("hand-over: the last known good configuration is %d.%d, the running node serves %d.%d", have.Epoch, have.Revision, s.Running.Epoch, s.Running.Revision)
	}
	return nil
}

// ListenAdmin takes the admin address's socket; nil: none came, or the address is another
// one now.
func (p *Predecessor) ListenAdmin(address string) (net.Listener, error) {
	if p.admin == nil {
		return nil, nil
	}
	defer p.admin.Close()
	if p.adminAddress != address {
		return nil, nil
	}
	l, err := net.FileListener(p.admin)
	if err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	return l, nil
}

// Watch is apply, by whose first call Run knows how far this process is.
func (p *Predecessor) Watch(apply func(context.Context, *table.Table) error) func(context.Context, *table.Table) error {
	return func(ctx context.Context, next *table.Table) error {
		p.once.Do(func() { close(p.warm) })
		err := apply(ctx, next)
		select {
		case p.applied <- err:
		default: // only the first counts
		}
		return err
	}
}

// Begin is closed when the old process follows nobody any more.
func (p *Predecessor) Begin() <-chan struct{} { return p.begin }

// Run is the conversation from Warm on, and lasts until ctx ends: an earlier end is an
// error, after which the old process goes on. claim is called when this process is the one
// that serves.
func (p *Predecessor) Run(ctx context.Context, engine Engine, claim func()) error {
	if err := p.take(ctx, engine); err != nil {
		p.Fail(err)
		return err
	}
	p.settle(claim)
	<-ctx.Done()
	return nil
}

// take gets as far as this process can without taking a connection, and takes them when it
// is told to.
func (p *Predecessor) take(ctx context.Context, engine Engine) error {
	stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() })
	defer stop()
	if p.Served.Running != nil {
		select {
		case <-p.warm:
		case err := <-p.applied:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := p.conn.Send(Message{Kind: Warm})
	if err == nil {
		_, err = p.conn.Receive(Go)
	}
	alone := err != nil && p.orphaned(ctx, err)
	if err != nil && !alone {
		return err
	}
	engine.Resume()
	if p.Served.Running != nil {
		select {
		case err := <-p.applied:
			if err != nil && !alone { // else the feed tries again, as after any start
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := p.sayReady(engine.CloseUnclaimed()); err != nil && !p.orphaned(ctx, err) {
		return err
	}
	return nil
}

// orphaned tells an old process that has died from one that gave this one up: there is
// nobody else to serve then. Whoever has died is not the parent of its children any more.
func (p *Predecessor) orphaned(ctx context.Context, err error) bool {
	if !errors.Is(err, ErrGone) {
		return false
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(orphanWait); os.Getppid() == p.parent; {
		if time.Now().After(end) {
			return false
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	p.logger.Warn("hand-over: the old process has died; this one serves alone")
	return true
}

// sayReady says that this process serves, and which addresses it has no use for: those
// of a node whose --listen-address was changed may be more than a message holds.
func (p *Predecessor) sayReady(unclaimed []netip.AddrPort) error {
	var text []byte
	for _, address := range unclaimed {
		if len(text)+len(" ")+maxAddress > MaxText {
			if err := p.conn.Send(Message{Kind: Unclaimed, Text: string(text)}); err != nil {
				return err
			}
			text = text[:0]
		}
		text = address.AppendTo(append(text, ' '))
	}
	return p.conn.Send(Message{Kind: Ready, Text: string(text)})
}

// settle waits for the old process to let go. One that ended meanwhile has.
func (p *Predecessor) settle(claim func()) {
	defer func() { _ = p.conn.Close() }()
	err := p.conn.SetDeadline(time.Now().Add(3 * TurnTimeout))
	if err == nil {
		_, err = p.conn.Receive(Done)
	}
	if err != nil {
		p.logger.Warn("hand-over: the old process did not say that it has let go", "error", err)
	}
	claim()
	close(p.begin)
	if err := p.conn.Send(Message{Kind: Settled}); err != nil {
		p.logger.Debug("hand-over: the old process is gone", "error", err)
	}
	p.logger.Info("node took over", "node", p.Served.NodeID)
}
