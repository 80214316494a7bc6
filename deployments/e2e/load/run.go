package load

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// ticket is a request that is due.
type ticket struct {
	id     uint64
	due    time.Time
	shape  int
	target int
	fresh  bool // on a connection of its own
}

// Run sends what o says until its bounds or ctx end it, and waits for the
// answers that are under way. An error is one of the options; what goes wrong
// with requests stands in the result.
func Run(ctx context.Context, o Options) (*Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	r := newRecorder(&o)
	// Without a rate a ticket is issued when a worker takes it.
	backlog := 0
	if o.Rate > 0 {
		backlog = maxBacklog
	}
	tickets := make(chan ticket, backlog)
	r.start = time.Now()
	r.lastSuccess, r.end = r.start, r.start
	var workers sync.WaitGroup
	for range o.Workers {
		workers.Go(func() { work(r, tickets) })
	}
	p := newPlanner(&o)
	if o.Rate > 0 {
		p.pace(ctx, r, tickets)
	} else {
		p.saturate(ctx, tickets)
	}
	close(tickets)
	workers.Wait()
	return r.finish(), nil
}

// work makes the requests of tickets, one after another.
func work(r *recorder, tickets <-chan ticket) {
	c := newClient(r.options)
	defer c.close()
	for {
		waited := len(tickets) > 0
		t, ok := <-tickets
		if !ok {
			return
		}
		if t.due.IsZero() {
			t.due = time.Now()
		}
		o := outcome{ticket: t, target: r.options.Targets[t.target], waited: waited}
		c.do(&o)
		r.add(&o)
	}
}

// planner draws what the next request is.
type planner struct {
	options *Options
	random  *rand.Rand
	weights []int // running sums
	next    uint64
}

func newPlanner(o *Options) *planner {
	p := &planner{options: o, random: rand.New(rand.NewPCG(o.Seed, 0x10ad))}
	sum := 0
	for i := range o.Shapes {
		sum += o.Shapes[i].Weight
		p.weights = append(p.weights, sum)
	}
	return p
}

func (p *planner) ticket() ticket {
	p.next++
	t := ticket{id: p.next, target: int(p.next % uint64(len(p.options.Targets)))}
	drawn := p.random.IntN(p.weights[len(p.weights)-1])
	for drawn >= p.weights[t.shape] {
		t.shape++
	}
	t.fresh = p.options.NewConnections > 0 && p.random.Float64() < p.options.NewConnections
	return t
}

// gap is the time to the next request.
func (p *planner) gap() time.Duration {
	mean := float64(time.Second) / p.options.Rate
	if p.options.Schedule == Uniform {
		return time.Duration(mean)
	}
	return time.Duration(mean * p.random.ExpFloat64())
}

// more says whether the bounds allow a request that is due after so long.
func (p *planner) more(after time.Duration) bool {
	o := p.options
	return (o.Requests <= 0 || p.next < uint64(o.Requests)) && (o.Duration <= 0 || after < o.Duration)
}

// pace issues tickets when they are due.
func (p *planner) pace(ctx context.Context, r *recorder, tickets chan<- ticket) {
	// On a goroutine of its own, which takes its thread with it when it ends.
	var done sync.WaitGroup
	done.Go(func() {
		s := newSleeper()
		for after := time.Duration(0); p.more(after) && ctx.Err() == nil; after += p.gap() {
			due := r.start.Add(after)
			s.sleep(ctx, due)
			t := p.ticket()
			t.due = due
			select {
			case tickets <- t:
			default:
				r.overrun(t)
			}
		}
	})
	done.Wait()
}

// saturate issues tickets as they are taken.
func (p *planner) saturate(ctx context.Context, tickets chan<- ticket) {
	var end <-chan time.Time
	if p.options.Duration > 0 {
		timer := time.NewTimer(p.options.Duration)
		defer timer.Stop()
		end = timer.C
	}
	for p.more(0) {
		select {
		case tickets <- p.ticket():
		case <-end:
			return
		case <-ctx.Done():
			return
		}
	}
}
