package handover

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ends are two ends of a conversation; the second also raw.
func ends(t testing.TB) (a *Conn, b *Conn, raw func(data, oob []byte)) {
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

// rights are so many descriptors of a file, as a control message.
func rights(file *os.File, n int) []byte {
	if n == 0 {
		return nil
	}
	fds := make([]int, n)
	for i := range fds {
		fds[i] = int(file.Fd())
	}
	return unix.UnixRights(fds...)
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
	socket := []byte{byte(Socket)}
	for _, c := range []struct {
		name      string
		data, oob []byte
		want      string
	}{
		{"unknown kind", []byte{99, 'x'}, nil, "kind 99"},
		{"zero kind", []byte{0}, nil, "kind 0"},
		{"too long", append([]byte{byte(State)}, strings.Repeat("x", MaxText+1)...), nil, "longer than"},
		{"too long with descriptors", append([]byte{byte(Socket)}, strings.Repeat("x", MaxText+1)...), rights(null, 3), "longer than"},
		{"socket without one", socket, nil, "0 descriptors"},
		{"one too many", socket, rights(null, MaxFDs+2), "more descriptors"},
		{"far too many", socket, rights(null, 200), "more descriptors"},
		{"two admin sockets", []byte{byte(Admin)}, rights(null, 2), "2 descriptors"},
		{"descriptors with a word", []byte{byte(Warm)}, rights(null, 1), "1 descriptors"},
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

// FuzzReceive: what is understood is what can be said, and was.
func FuzzReceive(f *testing.F) {
	null, err := os.Open("/dev/null")
	if err != nil {
		f.Fatal(err)
	}
	defer null.Close()
	for _, m := range []Message{{Kind: Hello, Text: Protocol}, {Kind: Socket, Text: "[::1]:80", FDs: []int{0, 0}}, {Kind: Admin, FDs: []int{0}}, {Kind: Failed, Text: "no room"}, {Kind: 99}} {
		f.Add(append([]byte{byte(m.Kind)}, m.Text...), uint8(len(m.FDs)))
	}
	f.Fuzz(func(t *testing.T, data []byte, descriptors uint8) {
		if len(data) > 2*MaxText {
			return
		}
		a, b, raw := ends(t)
		raw(data, rights(null, int(descriptors%128)))
		m, err := a.ReceiveAny()
		if err != nil {
			return
		}
		defer m.closeFDs()
		if byte(m.Kind) != data[0] || m.Text != string(data[1:]) || len(m.FDs) != int(descriptors%128) {
			t.Errorf("%s %q with %d descriptors, of %q with %d", m.Kind, m.Text, len(m.FDs), data, descriptors)
		}
		if err := a.Send(m); err != nil {
			t.Fatal(err)
		}
		again, err := b.Receive(m.Kind)
		if err != nil || again.Text != m.Text || len(again.FDs) != len(m.FDs) {
			t.Errorf("%s came back as %+v, %v", m.Kind, again, err)
		}
		again.closeFDs()
	})
}

// FuzzInherit has an old process say each line: what is taken over can be said again.
func FuzzInherit(f *testing.F) {
	null, err := os.Open("/dev/null")
	if err != nil {
		f.Fatal(err)
	}
	defer null.Close()
	for _, lines := range []string{
		"\x02[::]:80\n\x02127.0.0.1:443\n\x02[::]:80\n\x03127.0.0.1:7402\n\x04{\"nodeId\":\"n\",\"drained\":true,\"running\":{\"epoch\":1,\"revision\":2}}",
		"\x04{}", "\x04[", "\x02nowhere", "\x05", "\x0ano room",
	} {
		f.Add(lines)
	}
	f.Fuzz(func(t *testing.T, lines string) {
		if len(lines) > MaxText || strings.Count(lines, "\n") > 50 {
			return
		}
		a, _, raw := ends(t)
		sockets := 0
		for line := range strings.SplitSeq(lines, "\n") {
			most := 0
			if len(line) > 0 {
				most, _ = Kind(line[0]).carries()
				sockets += most
			}
			raw([]byte(line), rights(null, most))
		}
		p := newPredecessor(a, slog.New(slog.DiscardHandler))
		err := p.receive()
		taken := 0
		for address, fds := range p.Sockets {
			if !address.IsValid() {
				t.Errorf("sockets of %v", address)
			}
			taken += len(fds)
			(&Message{FDs: fds}).closeFDs()
		}
		if p.admin != nil {
			taken++
			p.admin.Close()
		}
		if err != nil {
			return
		}
		if taken > sockets {
			t.Errorf("%d sockets of %d", taken, sockets)
		}
		text, err := json.Marshal(p.Served)
		if err != nil {
			t.Fatal(err)
		}
		var again Served
		if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, p.Served) {
			t.Errorf("%+v is said as %+v, %v", p.Served, again, err)
		}
	})
}
