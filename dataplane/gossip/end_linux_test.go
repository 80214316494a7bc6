package gossip

import (
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// unanswered is an address where who connects gets no answer for as long as the test lasts: its
// socket has a queue for one, and has that.
func unanswered(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
	first, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Close() })
	return address
}

func TestTheEndDoesNotWaitForPeersThatDoNotAnswer(t *testing.T) {
	f := newFleet(t)
	c := f.config("a")
	c.Insecure = true
	c.Join = []string{unanswered(t)}
	cut, dials := c.cut, make(chan struct{}, 100)
	c.cut = func(address string) bool {
		dials <- struct{}{}
		return cut(address)
	}
	a := f.start(c)
	<-dials
	begin := time.Now()
	a.stop()
	if took := time.Since(begin); took > tcpTimeout*9/10 {
		t.Errorf("it took %v", took)
	}
}
