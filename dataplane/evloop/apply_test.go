//go:build linux

package evloop

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// holdLoop keeps a loop from its next turns until release is called.
func (n *node) holdLoop(sink *heldSink) (release func()) {
	n.t.Helper()
	held, goOn := make(chan struct{}), make(chan struct{})
	hold := func() { close(held); <-goOn }
	sink.hold.Store(&hold)
	go func() { _, _ = http.Get("http://" + n.address + "/") }()
	<-held
	return func() { close(goOn) }
}

// startHeld runs a node of one loop that can be held.
func startHeld(t *testing.T) (*node, *heldSink) {
	t.Helper()
	sink := &heldSink{}
	return startChanged(t, 1, func(e *Engine) {
		sink.Sink = e.loops[0].records.sink
		e.loops[0].records.sink = sink
	}), sink
}

// withPort is the node's table with a second listener.
func (n *node) withPort(port uint16) *table.Table {
	n.t.Helper()
	now := n.engine.Live().Load()
	other := now.Listeners[0]
	other.Name, other.Port = "other", port
	n.version++
	return &table.Table{
		Version: table.Version{Epoch: 1, Revision: n.version}, Upstreams: now.Upstreams, Routes: now.Routes,
		Listeners: []table.Listener{other, now.Listeners[0]}, // by name
	}
}

// TestATableIsAppliedWhenEveryLoopHasTakenIt and not when it is applied again while one has not.
func TestATableIsAppliedWhenEveryLoopHasTakenIt(t *testing.T) {
	n, sink := startHeld(t)
	n.apply(nil, respondAll())
	release := n.holdLoop(sink)
	next := n.withPort(freePort(t))
	for i := range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if err := n.engine.Apply(ctx, next); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("time %d: %v", i+1, err)
		}
		cancel()
	}
	release()
	if err := n.engine.Apply(context.Background(), next); err != nil {
		t.Error(err)
	}
}

// TestAListenerThatALoopCouldNotTakeUpIsOpenedWithTheNextTable, and is closed until then: clients
// that the kernel gave to it would wait for ever.
func TestAListenerThatALoopCouldNotTakeUpIsOpenedWithTheNextTable(t *testing.T) {
	n, sink := startHeld(t)
	n.apply(nil, respondAll())
	l := n.engine.loops[0]
	release := n.holdLoop(sink)
	port := freePort(t)
	next := n.withPort(port)
	applied := make(chan error, 1)
	go func() { applied <- n.engine.Apply(context.Background(), next) }()
	letter := <-l.mail.box
	file, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0) // which cannot be watched
	if err != nil {
		t.Fatal(err)
	}
	s := letter.change.open[0]
	unix.Close(s.fd)
	s.fd = file
	l.mail.box <- letter
	l.poller.Wake()
	release()
	if err := <-applied; !errors.Is(err, unix.EPERM) {
		t.Fatalf("%v", err)
	}
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)}).String()
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("it listens")
	}
	if err := n.engine.EachSocket(func(_ netip.AddrPort, fds []int) error {
		for _, fd := range fds {
			if fd < 0 {
				t.Error("a successor would get a socket that is none")
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := n.engine.Apply(context.Background(), next); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
