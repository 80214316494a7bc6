//go:build linux

package evloop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// virtual is a virtual IP of the node's listener.
var virtual = netip.MustParseAddr("127.0.0.2")

func onVIP(l *table.Listener) {
	l.Addresses = append(l.Addresses, table.Address{Kind: table.AddressVIP, IP: virtual, VIP: "x"})
}

func (n *node) vip() netip.AddrPort { return netip.AddrPortFrom(virtual, n.port) }

// foreign opens a listening socket as another process would, and shares it.
func (n *node) foreign() (fd int) {
	n.t.Helper()
	fd = n.listenOnVIP()
	n.t.Cleanup(func() { unix.Close(fd) })
	if err := n.share(context.Background(), fd); err != nil {
		n.t.Fatal(err)
	}
	return fd
}

// share shares a socket for the virtual IP.
func (n *node) share(ctx context.Context, fd int) error {
	return n.engine.Share(ctx, map[netip.AddrPort]int{n.vip(): fd})[n.vip()]
}

// listenOnVIP opens a listening socket at the virtual IP.
func (n *node) listenOnVIP() (fd int) {
	n.t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		n.t.Fatal(err)
	}
	if err := unix.Bind(fd, sockaddrOf(n.vip())); err != nil {
		n.t.Fatal(err)
	}
	if err := unix.Listen(fd, 128); err != nil {
		n.t.Fatal(err)
	}
	return fd
}

// kept is a client's kept connection.
type kept struct {
	net.Conn
	r *bufio.Reader
}

func dialKept(t *testing.T, address netip.AddrPort) *kept {
	t.Helper()
	c, err := net.DialTimeout("tcp", address.String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return &kept{c, bufio.NewReader(c)}
}

func (k *kept) get(t *testing.T) *http.Response {
	t.Helper()
	fmt.Fprintf(k, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(k.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}

func (n *node) refuses(what string) {
	n.t.Helper()
	if c, err := net.DialTimeout("tcp", n.vip().String(), time.Second); err == nil {
		c.Close()
		n.t.Errorf("%s: the address of the virtual IP takes connections", what)
	}
}

func TestAVirtualIPIsListenedOnOnlyWhileItsSocketIsShared(t *testing.T) {
	n := startNode(t, 2)
	n.apply(onVIP, respond("ok"))
	n.refuses("before")
	fd := n.listenOnVIP()
	if err := n.share(context.Background(), fd); err != nil {
		t.Fatal(err)
	}
	if resp := dialKept(t, n.vip()).get(t); resp.StatusCode != 200 || resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
	if err := n.engine.Unshare(context.Background(), n.vip()); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd) // ours was the last copy, unless the engine kept one
	n.refuses("after")
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Errorf("the node's own address: status %d", resp.StatusCode)
	}
}

func TestAListenerThatGetsTheAddressOfAVirtualIPThatWentListensThereItself(t *testing.T) {
	n := startNode(t, 2)
	n.apply(onVIP, respond("ok"))
	fd := n.foreign()
	n.apply(func(l *table.Listener) {
		l.Addresses = append(l.Addresses, table.Address{Kind: table.AddressLiteral, IP: virtual})
	}, respond("ok"))
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if err := n.engine.Unshare(context.Background(), n.vip()); err != nil {
		t.Fatal(err)
	}
	if resp := dialKept(t, n.vip()).get(t); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestLoopsShareASocketAndNoConnectionIsLost(t *testing.T) {
	n := startNode(t, 2)
	n.apply(onVIP, respond("ok"))
	n.foreign()
	const clients = 200
	for i := range clients {
		k := dialKept(t, n.vip())
		if i%2 == 0 {
			k.get(t)
		}
	}
	each := func(i int) uint64 { return n.engine.stats.LoopCounter(i, stats.ClientsOpen) }
	eventually(t, "every connection, on both loops", func() bool {
		return each(0)+each(1) == clients && each(0) > 0 && each(1) > 0
	})
}

func TestConnectionsOfASocketThatWasTakenAwayEndAfterTheirAnswer(t *testing.T) {
	n := startNode(t, 2)
	n.apply(onVIP, respond("ok"))
	fd := n.foreign()
	idle, busy := dialKept(t, n.vip()), dialKept(t, n.vip())
	idle.get(t)
	fmt.Fprintf(busy, "GET / HTTP/1.1\r\nHost: a\r\n")
	eventually(t, "both connections are accepted", func() bool { // those in the queue end with the socket
		return n.engine.stats.LoopCounter(0, stats.ClientsOpen)+n.engine.stats.LoopCounter(1, stats.ClientsOpen) == 2
	})
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if _, err := idle.r.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v", err)
	}
	fmt.Fprintf(busy, "\r\n")
	resp, err := http.ReadResponse(busy.r, nil)
	if err != nil || resp.StatusCode != 200 || !resp.Close {
		t.Errorf("%+v %v: expected an answer that ends the connection", resp, err)
	}
	n.refuses("after shutdown")
}

// TestASocketThatWasTakenAwayIsNotListenedOnAgain: listen on a socket that was shut
// down would take the address back.
func TestASocketThatWasTakenAwayIsNotListenedOnAgain(t *testing.T) {
	n := startNode(t, 2)
	n.apply(onVIP, respond("ok"))
	fd := n.foreign()
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	n.apply(func(l *table.Listener) { onVIP(l); l.Backlog = 77 }, respond("ok"))
	if resp := n.get("/"); resp.StatusCode != 200 { // this loop has seen the table
		t.Errorf("status %d", resp.StatusCode)
	}
	n.refuses("after a table with another backlog")
	next := n.foreign() // the address is free
	defer unix.Close(next)
	if resp := dialKept(t, n.vip()).get(t); resp.StatusCode != 200 || resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
}

func TestAListenerThatLeavesAVirtualIPLetsItsSocketGoAndMayComeBack(t *testing.T) {
	n := startNode(t, 2)
	n.apply(onVIP, respond("ok"))
	n.foreign()
	k := dialKept(t, n.vip())
	k.get(t)
	n.apply(nil, respond("ok"))
	if _, err := k.r.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v", err)
	}
	n.apply(onVIP, respond("ok"))
	if resp := dialKept(t, n.vip()).get(t); resp.StatusCode != 200 || resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
}

func TestASharedSocketIsNotHandedOver(t *testing.T) {
	n := startNode(t, 2)
	n.apply(onVIP, respond("ok"))
	n.foreign()
	inherited := n.inherited()
	if _, is := inherited[n.vip()]; is || len(inherited) != 1 {
		t.Errorf("%d addresses", len(inherited))
	}
	for _, fds := range inherited {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	if err := n.engine.Release(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if err := n.share(context.Background(), 0); err == nil {
		t.Error("a process that has handed over took a socket")
	}
}

func TestTheEngineHasAPulseWhileItsLoopsTurn(t *testing.T) {
	n := startNode(t, 2)
	p := n.engine.Pulse()
	eventually(t, "a beat of loops that have nothing to do", p.Beat)
	eventually(t, "another", p.Beat)
	n.stop()
	for range missedBeats + 1 {
		p.Beat()
	}
	if p.Beat() {
		t.Error("loops that have ended turn")
	}
}

// TestASocketThatALoopTookTooLateForIsSharedAnew: the next one at the address is taken
// connections from, not the one before it.
func TestASocketThatALoopTookTooLateForIsSharedAnew(t *testing.T) {
	n := startNode(t, 2)
	n.apply(onVIP, respond("ok"))
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for failed := false; !failed; { // a loop may be quick enough all the same
		fd := n.listenOnVIP()
		failed = n.share(over, fd) != nil
		if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		if err := n.engine.Unshare(context.Background(), n.vip()); err != nil {
			t.Fatal(err)
		}
	}
	n.foreign()
	if resp := dialKept(t, n.vip()).get(t); resp.StatusCode != 200 || resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
}

// TestSocketsAreSharedTogether, but one of them that cannot be had.
func TestSocketsAreSharedTogether(t *testing.T) {
	n := startNode(t, 2)
	n.apply(func(l *table.Listener) {
		onVIP(l)
		l.Addresses = append(l.Addresses, table.Address{Kind: table.AddressVIP, IP: virtual.Next(), VIP: "y"})
	}, respond("ok"))
	fd := n.listenOnVIP()
	defer unix.Close(fd)
	other := netip.AddrPortFrom(virtual.Next(), n.port)
	failed := n.engine.Share(context.Background(), map[netip.AddrPort]int{n.vip(): fd, other: -1})
	if len(failed) != 1 || failed[other] == nil {
		t.Fatalf("%v", failed)
	}
	if resp := dialKept(t, n.vip()).get(t); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if err := n.engine.Unshare(context.Background(), other, n.vip()); err != nil {
		t.Fatal(err)
	}
	if n := len(n.engine.shared); n != 0 {
		t.Errorf("%d are shared in the end", n)
	}
}
