package measure

import (
	"bytes"
	"runtime"
	rtrace "runtime/trace"
	"testing"
	"time"

	"golang.org/x/exp/trace"
)

func TestPausesOfARealTraceAreFound(t *testing.T) {
	var out bytes.Buffer
	if err := rtrace.Start(&out); err != nil {
		t.Skip("somebody traces this process already: ", err)
	}
	const collections = 5
	for range collections {
		runtime.GC()
	}
	rtrace.Stop()
	p, err := readPauses(&out)
	if err != nil {
		t.Fatal(err)
	}
	if p.stops < 2*collections { // at the begin and at the end of each
		t.Errorf("%d stops in %d collections", p.stops, collections)
	}
	if p.longest <= 0 || p.longest > time.Minute {
		t.Errorf("the longest took %v", p.longest)
	}
	if _, err := readPauses(bytes.NewReader([]byte("no trace"))); err == nil {
		t.Error("nonsense was read")
	}
}

func TestAPauseEndsWithTheFirstProcessorThatRunsAgain(t *testing.T) {
	const (
		loop, collector = trace.GoID(1), trace.GoID(2)
		loops, stops    = trace.ThreadID(1), trace.ThreadID(2)
		sweep           = "stop-the-world (GC sweep termination)"
	)
	p := newPauses()
	add := func(ev trace.Event, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		p.add(&ev)
	}
	world := func(at trace.Time, kind trace.EventKind, name string) {
		t.Helper()
		add(trace.MakeEvent(trace.EventConfig[trace.Range]{
			Time: at, Kind: kind, Thread: stops, Goroutine: collector, Details: trace.Range{Name: name, Scope: trace.MakeResourceID(collector)},
		}))
	}
	processor := func(at trace.Time, from, to trace.ProcState) {
		t.Helper()
		add(trace.MakeEvent(trace.EventConfig[trace.StateTransition]{
			Time: at, Kind: trace.EventStateTransition, Thread: loops, Details: trace.MakeProcStateTransition(0, from, to),
		}))
	}
	goroutine := func(at trace.Time, id trace.GoID, from, to trace.GoState) {
		t.Helper()
		add(trace.MakeEvent(trace.EventConfig[trace.StateTransition]{
			Time: at, Kind: trace.EventStateTransition, Thread: loops, Details: trace.MakeGoStateTransition(id, from, to),
		}))
	}
	goroutine(100, loop, trace.GoRunnable, trace.GoRunning)
	world(1000, trace.EventRangeBegin, sweep)
	goroutine(1010, loop, trace.GoRunning, trace.GoRunnable)
	processor(1020, trace.ProcRunning, trace.ProcIdle)
	processor(1100, trace.ProcIdle, trace.ProcRunning) // 100 after the order
	goroutine(5000, loop, trace.GoRunnable, trace.GoRunning)
	world(9000, trace.EventRangeEnd, sweep) // noted late
	world(9300, trace.EventRangeBegin, "stop-the-world (read mem stats)")
	processor(9900, trace.ProcIdle, trace.ProcRunning) // not after a collection
	goroutine(9950, loop, trace.GoRunning, trace.GoWaiting)
	p.finish()
	if p.stops != 1 || p.longest != 100 || p.waited != 3990 {
		t.Errorf("%d stops, the longest of %d, the loop waited %d; want 1, 100, 3990", p.stops, p.longest, p.waited)
	}
}
