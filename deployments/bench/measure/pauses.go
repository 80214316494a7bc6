package measure

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/exp/trace"
)

// pauses are what collections of garbage did to a program, from its execution
// trace.
//
// The runtime counts a pause until the thread that ended it has noted so. Where all
// threads share one processor the kernel often lets one run first that the end has
// woken: then the runtime counts milliseconds in which the program ran. A pause
// here ends with the first processor of Go's that runs again. For how long the busiest
// goroutine, which is a loop, then had to wait for a processor stands beside it: that is
// the collector's work, not the stop.
type pauses struct {
	stops   int
	longest time.Duration // from the order to stop to the first that runs again
	counted time.Duration // the longest, as the runtime counts it
	waited  time.Duration // of the busiest goroutine, ready to run, at the longest

	stopper trace.ThreadID // who stops the world; NoThread: it is not stopped
	begun   trace.Time
	work    map[trace.GoID]*worker
}

// worker is a goroutine with the time that it ran and the longest that it waited.
type worker struct {
	since       trace.Time
	state       trace.GoState
	ran, waited time.Duration
}

func newPauses() *pauses { return &pauses{stopper: trace.NoThread, work: map[trace.GoID]*worker{}} }

// readPauses reads a trace.
func readPauses(r io.Reader) (*pauses, error) {
	events, err := trace.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("execution trace: %w", err)
	}
	p := newPauses()
	for {
		ev, err := events.ReadEvent()
		if errors.Is(err, io.EOF) {
			p.finish()
			return p, nil
		}
		if err != nil {
			return nil, fmt.Errorf("execution trace: %w", err)
		}
		p.add(&ev)
	}
}

func (p *pauses) add(ev *trace.Event) {
	switch ev.Kind() {
	case trace.EventRangeBegin:
		if collects(ev.Range().Name) {
			p.stopper, p.begun = ev.Thread(), ev.Time()
		}
	case trace.EventRangeEnd:
		if collects(ev.Range().Name) && ev.Thread() == p.stopper {
			p.started(ev.Time())
		}
	case trace.EventStateTransition:
		switch t := ev.StateTransition(); t.Resource.Kind {
		case trace.ResourceProc:
			if _, to := t.Proc(); to == trace.ProcRunning && ev.Thread() != p.stopper {
				p.started(ev.Time())
			}
		case trace.ResourceGoroutine:
			_, to := t.Goroutine()
			p.moved(t.Resource.Goroutine(), to, ev.Time())
		}
	}
}

// collects says that the world is stopped for a collection, not for whoever looks
// at it.
func collects(stop string) bool { return strings.HasPrefix(stop, "stop-the-world (GC") }

// started ends a stop, if there is one.
func (p *pauses) started(at trace.Time) {
	if p.stopper == trace.NoThread {
		return
	}
	p.stopper = trace.NoThread
	p.stops++
	p.longest = max(p.longest, at.Sub(p.begun))
}

// moved notes that a goroutine is in another state.
func (p *pauses) moved(id trace.GoID, to trace.GoState, at trace.Time) {
	w := p.work[id]
	if w == nil {
		w = &worker{}
		p.work[id] = w
	}
	switch spent := at.Sub(w.since); w.state {
	case trace.GoRunning:
		w.ran += spent
	case trace.GoRunnable:
		w.waited = max(w.waited, spent)
	}
	w.state, w.since = to, at
}

func (p *pauses) finish() {
	var busiest *worker
	for _, w := range p.work {
		if busiest == nil || w.ran > busiest.ran {
			busiest = w
		}
	}
	if busiest != nil {
		p.waited = busiest.waited
	}
}
