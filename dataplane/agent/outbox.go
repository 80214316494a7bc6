//go:build linux

package agent

import (
	"sync"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// maxUnderWay bounds the sockets that are on their way to the main process: each takes
// a descriptor more meanwhile. What else waits is one word for each socket that was
// opened, and one report.
const maxUnderWay = 256

// outbox is what the agent tells the main process. The loop fills it and never
// waits; a goroutine of its own sends. A main process that does not read for long kills
// the agent, or is gone.
type outbox struct {
	wake wakeup.Signal // there is something

	// guarded by mu
	mu       sync.Mutex
	queue    []parcel
	underWay int                  // sockets that were put in and are not sent yet
	leases   map[string]int64     // by address: until when, of those that were not sent yet
	report   *fleetv1.AgentReport // the latest, not sent yet
	ended    bool
}

// parcel is a message with a descriptor, which is the outbox's.
type parcel struct {
	message *fleetv1.FromAgent
	fd      int
}

func newOutbox() *outbox {
	return &outbox{wake: wakeup.NewSignal(), leases: map[string]int64{}}
}

// room says that another socket may be passed on.
func (o *outbox) room() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.underWay < maxUnderWay
}

// socket passes on a copy.
func (o *outbox) socket(l listening, until int64) error {
	fd, err := copyFD(l.fd)
	if err != nil {
		return err
	}
	o.put(parcel{&fleetv1.FromAgent{Message: &fleetv1.FromAgent_Socket{Socket: &fleetv1.AgentSocket{
		Number: l.number, Address: l.address.String(), Until: until,
	}}}, fd})
	return nil
}

func (o *outbox) closed(number uint64) {
	o.put(parcel{&fleetv1.FromAgent{Message: &fleetv1.FromAgent_Closed{Closed: &fleetv1.AgentClosed{Number: number}}}, noFD})
}

// lease says until when sockets may listen. Of each address the last word counts.
func (o *outbox) lease(leases []*fleetv1.AgentLease) {
	o.mu.Lock()
	for _, l := range leases {
		o.leases[l.GetAddress()] = l.GetUntil()
	}
	o.mu.Unlock()
	o.wake.Send()
}

// say replaces a report that was not sent yet.
func (o *outbox) say(r *fleetv1.AgentReport) {
	o.mu.Lock()
	o.report = r
	o.mu.Unlock()
	o.wake.Send()
}

func (o *outbox) put(p parcel) {
	o.mu.Lock()
	ended := o.ended
	if !ended {
		o.queue = append(o.queue, p)
		if p.fd != noFD {
			o.underWay++
		}
	}
	o.mu.Unlock()
	if ended {
		p.close()
	}
	o.wake.Send()
}

// close lets go of the descriptor.
func (p *parcel) close() {
	if p.fd != noFD {
		closeFD(p.fd)
	}
}

// done is the end of a parcel that was taken.
func (o *outbox) done(p *parcel) {
	if p.fd == noFD {
		return
	}
	p.close()
	o.mu.Lock()
	o.underWay--
	o.mu.Unlock()
}

// take returns what is to be sent: sockets first, then what there is to say.
func (o *outbox) take() (queue []parcel, words []*fleetv1.FromAgent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	queue, o.queue = o.queue, nil
	if len(o.leases) > 0 {
		m := &fleetv1.AgentLeases{}
		for address, until := range o.leases {
			m.Leases = append(m.Leases, &fleetv1.AgentLease{Address: address, Until: until})
		}
		clear(o.leases)
		words = append(words, &fleetv1.FromAgent{Message: &fleetv1.FromAgent_Leases{Leases: m}})
	}
	if o.report != nil {
		words = append(words, &fleetv1.FromAgent{Message: &fleetv1.FromAgent_Report{Report: o.report}})
		o.report = nil
	}
	return queue, words
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
		queue, words := o.take()
		var err error
		for i := range queue {
			if err == nil {
				err = c.send(queue[i].message, queue[i].fd)
			}
			o.done(&queue[i])
		}
		for _, m := range words {
			if err == nil {
				err = c.send(m, noFD)
			}
		}
		if err != nil {
			c.close() // which whoever receives sees too
			return
		}
	}
}

func (o *outbox) end() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	queue, _ := o.take()
	for i := range queue {
		o.done(&queue[i])
	}
}
