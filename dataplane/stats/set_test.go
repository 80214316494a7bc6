package stats

import (
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

func totalsOf(t *testing.T, s *Set, name string) Totals {
	t.Helper()
	for r := range s.ByRoute() {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no series of route %q", name)
	return Totals{}
}

func TestLoopsAddUp(t *testing.T) {
	s := New(3, Limits{})
	f := Finish{
		Listener: s.Listeners.Acquire(Key{Name: "web"}),
		Route:    s.Routes.Acquire(Key{Name: "api"}),
		Upstream: s.Upstreams.Acquire(Key{Name: "u"}),
		Endpoint: s.Endpoints.Acquire(Key{"u", "127.0.0.1:1"}),
		Status:   200, Forwarded: true, Answered: true,
		Duration: 3e6, FirstByte: 2e6, Acquire: 1e3, BytesIn: 10, BytesOut: 100,
	}
	for i := range 3 {
		s.Loop(i).Finished(&f)
	}
	f.Status, f.Reason, f.Answered, f.Retries = 502, 7, false, 2
	s.Loop(1).Finished(&f)

	got := totalsOf(t, s, "api")
	if got.Requests != [Classes]uint64{0, 3, 0, 0, 1} || got.BytesIn != 40 || got.BytesOut != 400 ||
		got.Retries != 2 || got.Duration.Count != 4 {
		t.Errorf("route: %+v", got)
	}
	for u := range s.ByUpstream() {
		if u.Name != "u" || u.Requests[1] != 3 || u.Requests[4] != 0 || u.Unanswered != 1 || u.Duration.Count != 3 {
			t.Errorf("upstream: %+v", u)
		}
	}
	for e := range s.ByEndpoint() {
		if e.Key != (Key{"u", "127.0.0.1:1"}) || e.Requests[1] != 3 || e.Unanswered != 1 {
			t.Errorf("endpoint: %+v", e)
		}
	}
	if n := s.Counter(Requests); n != 4 {
		t.Errorf("requests = %d, want 4", n)
	}
	if n := s.Counter(Errors); n != 1 {
		t.Errorf("errors = %d, want 1", n)
	}
	if n := s.Reason(7); n != 1 {
		t.Errorf("reason 7 = %d, want 1", n)
	}
	if n := s.Acquire().Count; n != 3 {
		t.Errorf("acquired = %d, want 3", n)
	}
}

func TestConnectionsMayEndOnAnotherLoop(t *testing.T) {
	s := New(2, Limits{})
	web := s.Listeners.Acquire(Key{Name: "web"})
	for range 5 {
		s.Loop(0).ClientOpened(web)
	}
	s.Loop(1).ClientClosed(web)
	s.Loop(1).ClientClosed(web)
	for c := range s.ClientConnections() {
		if c.Name != "web" || c.Opened != 5 || c.Open != 3 {
			t.Errorf("got %+v, want 5 opened and 3 open", c)
		}
	}
	if n := s.Counter(ClientsOpen); n != 3 {
		t.Errorf("open = %d, want 3", n)
	}
}

func TestNamesBeyondTheLimitShareOneSeries(t *testing.T) {
	s := New(1, Limits{Routes: 3})
	for i := range 10 {
		f := Finish{Route: s.Routes.Acquire(Key{Name: fmt.Sprintf("r%d", i)}), Status: 200}
		s.Loop(0).Finished(&f)
	}
	if n := s.Routes.Len(); n != 2 {
		t.Fatalf("%d names, want 2 beside slot 0", n)
	}
	if got := totalsOf(t, s, Other); got.Requests[1] != 8 {
		t.Errorf("others = %d, want 8", got.Requests[1])
	}
}

func TestASlotStaysWithItsName(t *testing.T) {
	in := newInterner(100)
	a := in.Acquire(Key{Name: "a"})
	b := in.Acquire(Key{Name: "b"})
	in.Retain(func(k Key) bool { return k.Name == "a" })
	if got := in.Acquire(Key{Name: "a"}); got != a {
		t.Errorf("a moved from %d to %d", a, got)
	}
	if got := in.Acquire(Key{Name: "b"}); got == b {
		t.Errorf("b came back to %d, whose series ended", b)
	}
}

func TestANewNameOnAnOldSlotStartsFromZero(t *testing.T) {
	s := New(2, Limits{Routes: 2})
	old := s.Routes.Acquire(Key{Name: "old"})
	s.Loop(0).Finished(&Finish{Route: old, Status: 200, Duration: 1})
	s.Loop(1).Finished(&Finish{Route: old, Status: 200, Duration: 1})

	s.Routes.Retain(func(Key) bool { return false })
	fresh := s.Routes.Acquire(Key{Name: "fresh"})
	if fresh&indexMask != old&indexMask || fresh == old {
		t.Fatalf("slots %#x and %#x: want the same index in another generation", old, fresh)
	}
	if got := totalsOf(t, s, "fresh"); got.Sum() != 0 || got.Duration.Count != 0 {
		t.Fatalf("fresh begins with %+v", got)
	}
	s.Loop(0).Finished(&Finish{Route: fresh, Status: 404, Duration: 1})
	// A request of the old name that ends late is no request of the new one.
	s.Loop(0).Finished(&Finish{Route: old, Status: 200, Duration: 1})
	if got := totalsOf(t, s, "fresh"); got.Requests != [Classes]uint64{3: 1} || got.Duration.Count != 1 {
		t.Errorf("fresh has %+v, want one 4xx", got)
	}
	if got := totalsOf(t, s, Other); got.Requests[1] != 1 {
		t.Errorf("others have %+v, want the late one", got)
	}
}

func TestAConnectionThatOutlivesItsListenerIsNotTakenFromAnother(t *testing.T) {
	s := New(1, Limits{Listeners: 2})
	old := s.Listeners.Acquire(Key{Name: "old"})
	s.Loop(0).ClientOpened(old)
	s.Listeners.Retain(func(Key) bool { return false })
	fresh := s.Listeners.Acquire(Key{Name: "fresh"})
	s.Loop(0).ClientOpened(fresh)
	s.Loop(0).ClientClosed(old)
	for c := range s.ClientConnections() {
		if c.Name != "fresh" || c.Open != 1 {
			t.Errorf("got %+v, want only fresh with 1", c)
		}
	}
}

// TestAConnectionThatBeginsLateIsCountedNoLongerThanItIsOpen: that of a name which has
// gone, behind the first of the name that has its slot now.
func TestAConnectionThatBeginsLateIsCountedNoLongerThanItIsOpen(t *testing.T) {
	s := New(1, Limits{Listeners: 2, Endpoints: 2})
	l := s.Loop(0)
	for _, c := range []struct {
		names         *Interner
		opened        func(Slot) Slot
		closed        func(Slot)
		ofConnections iter.Seq[ConnectionTotals]
	}{
		{s.Listeners, l.ClientOpened, l.ClientClosed, s.ClientConnections()},
		{s.Endpoints, l.EndpointOpened, l.EndpointClosed, s.ServerConnections()},
	} {
		old := c.names.Acquire(Key{Name: "old"})
		c.names.Retain(func(Key) bool { return false })
		c.closed(c.opened(c.names.Acquire(Key{Name: "fresh"})))
		c.closed(c.opened(old))
		for n := range c.ofConnections {
			if n.Opened != 1 || n.Open != 0 {
				t.Errorf("%s: %d opened, %d are open", n.Name, n.Opened, int64(n.Open))
			}
		}
	}
}

func TestGenerationsWrapAround(t *testing.T) {
	s := New(1, Limits{Routes: 2})
	for i := range 3 << (32 - indexBits) {
		name := fmt.Sprint(i)
		slot := s.Routes.Acquire(Key{Name: name})
		s.Loop(0).Finished(&Finish{Route: slot, Status: 200})
		if got := totalsOf(t, s, name); got.Sum() != 1 {
			t.Fatalf("use %d (slot %#x): %d requests, want 1", i, slot, got.Sum())
		}
		s.Routes.Retain(func(Key) bool { return false })
	}
}

func TestReadingWhileLoopsCount(t *testing.T) {
	const loops, requests = 2, 20_000
	s := New(loops, Limits{Routes: 8})
	var stop atomic.Bool
	var writers, readers sync.WaitGroup
	for i := range loops {
		writers.Go(func() {
			l := s.Loop(i)
			for n := range requests {
				f := Finish{Route: s.Routes.Acquire(Key{Name: fmt.Sprint(n % 5)}), Status: 200, Duration: int64(n)}
				l.ClientOpened(0)
				l.Finished(&f)
				l.ClientClosed(0)
			}
		})
	}
	readers.Go(func() {
		var last uint64
		for !stop.Load() {
			now := s.Counter(Requests)
			if now < last {
				t.Errorf("requests went from %d to %d", last, now)
				return
			}
			last = now
			for r := range s.ByRoute() {
				_ = r
			}
		}
	})
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	if n := s.Counter(Requests); n != loops*requests {
		t.Errorf("requests = %d, want %d", n, loops*requests)
	}
	if n := s.Counter(ClientsOpen); n != 0 {
		t.Errorf("open = %d, want 0", n)
	}
}

func TestCountingDoesNotAlloc(t *testing.T) {
	s := New(1, Limits{})
	l := s.Loop(0)
	f := Finish{
		Route: s.Routes.Acquire(Key{Name: "r"}), Forwarded: true, Answered: true,
		Status: 200, Duration: 1e6, FirstByte: 1e5,
	}
	l.Finished(&f)
	if n := testing.AllocsPerRun(1000, func() { l.Finished(&f) }); n != 0 {
		t.Errorf("%v allocations a request, want 0", n)
	}
}

func TestARequestWithoutARouteCountsForNone(t *testing.T) {
	s := New(1, Limits{})
	s.Loop(0).Finished(&Finish{NoRoute: true, Status: 404})
	for r := range s.ByRoute() {
		t.Errorf("counted for %+v", r.Key)
	}
	if n := s.Counter(Requests); n != 1 {
		t.Errorf("requests = %d, want 1", n)
	}
}

func TestAStatusWithoutAClassCountsAs5xx(t *testing.T) {
	got := []string{}
	for _, status := range []uint16{0, 99, 100, 204, 301, 499, 503, 600} {
		got = append(got, ClassOf(status).String())
	}
	want := []string{"5xx", "5xx", "1xx", "2xx", "3xx", "4xx", "5xx", "5xx"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func BenchmarkCounter(b *testing.B) {
	l := New(1, Limits{}).Loop(0)
	for b.Loop() {
		l.Add(Turns, 1)
	}
}

// The same with a locked store, for comparison.
func BenchmarkCounterAtomicStore(b *testing.B) {
	var x uint64
	for b.Loop() {
		atomic.StoreUint64(&x, x+1)
	}
}

func BenchmarkConnection(b *testing.B) {
	s := New(1, Limits{})
	web := s.Listeners.Acquire(Key{Name: "web"})
	l := s.Loop(0)
	for b.Loop() {
		l.EndpointReused(web)
	}
}

// Everything that is counted of a forwarded request.
func BenchmarkFinished(b *testing.B) {
	for _, routes := range []int{1, 1000} {
		b.Run(fmt.Sprintf("routes=%d", routes), func(b *testing.B) {
			s := New(1, Limits{})
			slots := make([]Slot, routes)
			for i := range slots {
				slots[i] = s.Routes.Acquire(Key{Name: fmt.Sprint(i)})
			}
			f := Finish{
				Listener: s.Listeners.Acquire(Key{Name: "web"}),
				Upstream: s.Upstreams.Acquire(Key{Name: "u"}),
				Endpoint: s.Endpoints.Acquire(Key{"u", "e"}),
				Status:   200, Forwarded: true, Answered: true, Duration: 1e6, FirstByte: 9e5, BytesOut: 1024,
			}
			l := s.Loop(0)
			i := 0
			for b.Loop() {
				f.Route = slots[i%routes]
				f.Duration += 997
				i++
				l.Finished(&f)
			}
		})
	}
}

func BenchmarkScrapeOf4000Routes(b *testing.B) {
	s := New(2, Limits{})
	for i := range 4000 {
		f := Finish{Route: s.Routes.Acquire(Key{Name: fmt.Sprint(i)}), Status: 200, Duration: 1e6}
		s.Loop(i % 2).Finished(&f)
	}
	for b.Loop() {
		for r := range s.ByRoute() {
			_ = r
		}
	}
}
