//go:build linux

package agent

import (
	"sync"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// outboxSize bounds what waits for the main process: all sockets of as many
// virtual IPs as there can be, taken and closed once. A main process that does not
// read that much is as good as gone.
const outboxSize = 4096

// outbox is what the agent tells the main process. The loop fills it and never
// waits; a goroutine of its own sends.
type outbox struct {
	wake chan struct{} // holds a token when there is something

	// guarded by mu
	mu     sync.Mutex
	queue  []parcel
	report *fleetv1.AgentReport // the latest, not sent yet
	full   bool
	ended  bool
}

// parcel is a message with a descriptor, which is the outbox's.
type parcel struct {
	message *fleetv1.FromAgent
	fd      int
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// socket passes on a copy.
func (o *outbox) socket(l listening, until int64) {
	fd, err := copyFD(l.fd)
	if err != nil {
		o.overflow() // without descriptors nothing can be passed on any more
		return
	}
	o.put(parcel{&fleetv1.FromAgent{Message: &fleetv1.FromAgent_Socket{Socket: &fleetv1.AgentSocket{
		Number: l.number, Address: l.address.String(), Until: until,
	}}}, fd})
}

func (o *outbox) closed(number uint64) {
	o.put(parcel{&fleetv1.FromAgent{Message: &fleetv1.FromAgent_Closed{Closed: &fleetv1.AgentClosed{Number: number}}}, noFD})
}

// say replaces a report that was not sent yet.
func (o *outbox) say(r *fleetv1.AgentReport) {
	o.mu.Lock()
	o.report = r
	o.mu.Unlock()
	o.poke()
}

func (o *outbox) put(p parcel) {
	o.mu.Lock()
	fits := len(o.queue) < outboxSize
	o.full = o.full || !fits
	fits = fits && !o.ended
	if fits {
		o.queue = append(o.queue, p)
	}
	o.mu.Unlock()
	if !fits && p.fd != noFD {
		closeFD(p.fd)
	}
	o.poke()
}

func (o *outbox) overflow() {
	o.mu.Lock()
	o.full = true
	o.mu.Unlock()
}

// overflown says that something was lost: the main process must begin anew.
func (o *outbox) overflown() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.full
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be sent, sockets first.
func (o *outbox) take() ([]parcel, *fleetv1.AgentReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q, r := o.queue, o.report
	o.queue, o.report = nil, nil
	return q, r
}

// run sends until done is closed or the main process does not take it.
func (o *outbox) run(c *conn, done <-chan struct{}) {
	defer o.end()
	for {
		select {
		case <-done:
			return
		case <-o.wake:
		}
		queue, report := o.take()
		var err error
		for _, p := range queue {
			if err == nil {
				err = c.send(p.message, p.fd)
			}
			if p.fd != noFD {
				closeFD(p.fd)
			}
		}
		if err == nil && report != nil {
			err = c.send(&fleetv1.FromAgent{Message: &fleetv1.FromAgent_Report{Report: report}}, noFD)
		}
		if err != nil {
			c.close() // which who receives sees too
			return
		}
	}
}

func (o *outbox) end() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	queue, _ := o.take()
	for _, p := range queue {
		if p.fd != noFD {
			closeFD(p.fd)
		}
	}
}
