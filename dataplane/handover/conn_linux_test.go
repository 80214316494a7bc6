package handover

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ends are two ends of a conversation; the second also raw.
func ends(t *testing.T) (a *Conn, b *Conn, raw func(data, oob []byte)) {
	t.Helper()
	a, file, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	if b, err = Open(fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range []func() error{a.Close, b.Close, file.Close} {
			if err := c(); err != nil {
				t.Error(err)
			}
		}
	})
	raw = func(data, oob []byte) {
		t.Helper()
		if err := unix.Sendmsg(int(file.Fd()), data, oob, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*Conn{a, b} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return a, b, raw
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestAListeningSocketKeepsItsQueueAcrossTheConversation(t *testing.T) {
	a, b, _ := ends(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Send(Message{Kind: Socket, Text: "x", FDs: []int{int(f.Fd())}}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	l.Close()
	m, err := b.Receive(Socket)
	if err != nil || m.Text != "x" || len(m.FDs) != 1 {
		t.Fatalf("%+v %v", m, err)
	}
	flags, err := unix.FcntlInt(uintptr(m.FDs[0]), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %x %v: expected close on exec", flags, err)
	}
	got := os.NewFile(uintptr(m.FDs[0]), "")
	defer got.Close()
	again, err := net.FileListener(got)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	c, err := again.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.RemoteAddr().String() != client.LocalAddr().String() {
		t.Errorf("accepted %s, expected %s", c.RemoteAddr(), client.LocalAddr())
	}
}

func TestWhatIsNoMessageIsRefusedAndLeavesNoDescriptorOpen(t *testing.T) {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	rights := func(n int) []byte {
		fds := make([]int, n)
		for i := range fds {
			fds[i] = int(null.Fd())
		}
		return unix.UnixRights(fds...)
	}
	socket := []byte{byte(Socket)}
	for _, c := range []struct {
		name      string
		data, oob []byte
		want      string
	}{
		{"unknown kind", []byte{99, 'x'}, nil, "kind 99"},
		{"zero kind", []byte{0}, nil, "kind 0"},
		{"too long", append([]byte{byte(State)}, strings.Repeat("x", MaxText+1)...), nil, "longer than"},
		{"too long with descriptors", append([]byte{byte(Socket)}, strings.Repeat("x", MaxText+1)...), rights(3), "longer than"},
		{"socket without one", socket, nil, "0 descriptors"},
		{"one too many", socket, rights(MaxFDs + 2), "more descriptors"},
		{"far too many", socket, rights(200), "more descriptors"},
		{"two admin sockets", []byte{byte(Admin)}, rights(2), "2 descriptors"},
		{"descriptors with a word", []byte{byte(Warm)}, rights(1), "1 descriptors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, _, raw := ends(t)
			before := openDescriptors(t)
			raw(c.data, c.oob)
			_, err := a.ReceiveAny()
			if !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if after := openDescriptors(t); after != before {
				t.Errorf("%d descriptors were open, now %d", before, after)
			}
		})
	}
}

func TestAMessageOutOfTurnIsRefused(t *testing.T) {
	a, b, _ := ends(t)
	if err := b.Send(Message{Kind: Ready}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Receive(Warm); !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), "ready, expected warm") {
		t.Errorf("%v", err)
	}
}

func TestThePeersReasonAndItsEndAreTold(t *testing.T) {
	a, file, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := unix.Sendmsg(int(file.Fd()), append([]byte{byte(Failed)}, "no room"...), nil, nil, 0); err != nil {
		t.Fatal(err)
	}
	file.Close()
	if _, err := a.Receive(Hello); !errors.Is(err, ErrPeer) || !strings.Contains(err.Error(), "no room") {
		t.Errorf("%v", err)
	}
	if _, err := a.Receive(Hello); !errors.Is(err, ErrGone) {
		t.Errorf("%v", err)
	}
	if err := a.Send(Message{Kind: Go}); !errors.Is(err, ErrGone) {
		t.Errorf("%v", err)
	}
}

func TestASilentPeerIsWaitedForUntilTheDeadline(t *testing.T) {
	a, _, _ := ends(t)
	if err := a.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Receive(Hello); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNoMessageIsNotSent(t *testing.T) {
	a, _, _ := ends(t)
	for _, m := range []Message{
		{Kind: 0},
		{Kind: lastKind + 1},
		{Kind: State, Text: strings.Repeat("x", MaxText+1)},
		{Kind: Socket},
		{Kind: Go, FDs: []int{0}},
		{Kind: Socket, FDs: make([]int, MaxFDs+1)},
	} {
		if err := a.Send(m); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", m.Kind, err)
		}
	}
}
