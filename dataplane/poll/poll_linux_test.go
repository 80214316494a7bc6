package poll

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newPair(t *testing.T) (int, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func newPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func waitOne(t *testing.T, p *Poller) Event {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		events, err := p.Wait(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 1 {
			return events[0]
		}
	}
	t.Fatal("no event")
	return Event{}
}

func TestAnEdgeCarriesItsTokenAndComesOnce(t *testing.T) {
	p := newPoller(t)
	a, b := newPair(t)
	const token = 1<<63 | 42
	if err := p.Add(a, token); err != nil {
		t.Fatal(err)
	}
	if ev := waitOne(t, p); ev.Token != token || !ev.Writable || ev.Readable {
		t.Fatalf("first edge: %+v", ev)
	}
	if events, err := p.Wait(0); err != nil || len(events) != 0 {
		t.Fatalf("the same edge again: %v %v", events, err)
	}
	if _, err := unix.Write(b, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if ev := waitOne(t, p); ev.Token != token || !ev.Readable || ev.ReadHup {
		t.Fatalf("after a write: %+v", ev)
	}
	unix.Shutdown(b, unix.SHUT_WR)
	if ev := waitOne(t, p); !ev.ReadHup || ev.Hup {
		t.Fatalf("after a half-close: %+v", ev)
	}
}

func TestAWakeUpIsNeverLost(t *testing.T) {
	p := newPoller(t)
	const rounds = 2000
	done := make(chan struct{})
	seen := make(chan struct{})
	go func() {
		defer close(done)
		for range rounds {
			p.Wake()
			<-seen
		}
	}()
	for range rounds {
		start := time.Now()
		if _, err := p.Wait(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		if time.Since(start) > 5*time.Second {
			t.Fatal("a wake-up was lost")
		}
		seen <- struct{}{}
	}
	<-done
}
