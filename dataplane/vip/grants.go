package vip

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

const (
	// MaxVIPs bounds the virtual IPs of a fleet. A member keeps grants of as many that
	// it is configured with, and of as many others: those of a configuration that went,
	// or that it has not got yet, take nothing from its own.
	MaxVIPs = 1024
	// sentKept bounds the requests whose sending time is known. At MaxItems a
	// datagram it covers KeepFor several times over; what is older is no use.
	sentKept = 1024

	never = math.MinInt64
	// nobody is a place in the list that there is not.
	nobody = -1
)

// Event is an input of Step: Received, Configured or Listed.
type Event interface{ event() }

// Received is a Message from another member.
type Received struct{ Message Message }

// Configured are the virtual IPs that there are now: all of them.
type Configured struct{ Specs []Spec }

// Listed is the list of expected members from now on.
type Listed struct{ List List }

func (Received) event()   {}
func (Configured) event() {}
func (Listed) event()     {}

// Action is an output of Step: Send, Claim, Drop or Conflict.
type Action interface{ action() }

// Send wants the message sent to each member of To, once, at best effort.
type Send struct {
	// To is shared: not to be changed.
	To      []string
	Message Message
}

// Claim says that this node holds the virtual IP from now on. The address must
// not be brought up after Until: whoever is late calls Step again, and does then
// what Grants.Until says.
type Claim struct {
	VIP   string
	Term  uint64
	Until int64
}

// Drop says that this node does not hold the virtual IP any more; the address
// must be off before anything else happens. Reason is Lost, HandedOver, Conceded
// or Resigned.
type Drop struct {
	VIP    string
	Term   uint64
	Reason Op
}

// Conflict says that Other claims to hold what this node holds under Availability
// and goes on holding. It repeats while that is so.
type Conflict struct {
	VIP, Other string
}

func (Send) action()     {}
func (Claim) action()    {}
func (Drop) action()     {}
func (Conflict) action() {}

// Config says who a node is.
type Config struct {
	// Self is the node's id, Boot random and another at each start.
	Self string
	Boot uint64
	// Now is the clock's reading at the start: nothing is granted for GrantFor
	// from then.
	Now   int64
	List  List
	Specs []Spec
}

// Grants is one node's part in deciding who holds: it grants as a member, asks
// as a candidate, holds.
type Grants struct {
	// immutable
	self string
	boot uint64
	t    timing

	list   List
	me     int      // this node's place in the list, or nobody
	others []string // the list without this node; replaced, never changed
	view   member.View
	lives  map[string]*lives // by id, of view and those before
	all    *candidates       // of list and view; nil: not looked for since these changed

	now     int64
	quiet   int64 // nothing is granted before
	seq     uint64
	sent    []stamp   // by Seq modulo its length
	offices []*office // by name
	strange int       // the offices of virtual IPs that are not configured here
	actions []Action
	beating bool      // a renewal is due in this step
	turn    []*office // those that this step brings up to the present
	scratch subset    // of leftOut
}

// stamp is when a request was sent.
type stamp struct {
	seq uint64
	at  int64
}

// New returns the machine of a node that starts.
func New(c Config) (*Grants, error) {
	if !validName(c.Self) {
		return nil, fmt.Errorf("vip: node id of %d bytes: expected 1 to %d", len(c.Self), MaxName)
	}
	if c.Boot == 0 {
		return nil, errors.New("vip: no boot id")
	}
	return newGrants(c, defaultTiming()), nil
}

func newGrants(c Config, t timing) *Grants {
	g := &Grants{
		self: c.Self, boot: c.Boot, t: t,
		now: c.Now, quiet: c.Now + t.grant, sent: make([]stamp, sentKept), lives: map[string]*lives{},
	}
	g.setList(c.List)
	g.configure(c.Specs)
	return g
}

// Step takes what happened and returns what to do, in this order. The actions
// are valid until the next call. now must have been read after the last of the
// events was received; view is the latest, with this node itself in it as it is
// now: what the node's flags say there takes effect in this step.
func (g *Grants) Step(now int64, view member.View, events ...Event) []Action {
	g.actions = g.actions[:0]
	g.now = max(g.now, now)
	g.see(view)
	for _, e := range events {
		switch e := e.(type) {
		case Received:
			g.receive(&e.Message)
		case Configured:
			g.configure(e.Specs)
		case Listed:
			if !e.List.equal(g.list) {
				g.setList(e.List)
			}
		}
	}
	g.advanceDue()
	g.flush()
	for _, o := range g.turn {
		g.schedule(o)
	}
	g.forget()
	return g.actions
}

// see takes over a View.
func (g *Grants) see(view member.View) {
	if view.Same(g.view) {
		return
	}
	changes := member.Diff(g.view, view)
	g.view = view
	for i := range changes {
		g.sawProcess(changes[i].New) // none of who left
	}
	if slices.ContainsFunc(changes, concernsAll) {
		g.all = nil
		for _, o := range g.offices {
			o.stale = true
		}
		return
	}
	if g.all != nil {
		g.all.update(view)
	}
	for i := range changes {
		g.seeHoldings(changes[i].Old, changes[i].New)
		g.seeHoldings(changes[i].New, changes[i].Old)
	}
}

// among are the candidates of now.
func (g *Grants) among() *candidates {
	if g.all == nil {
		g.all = newCandidates(g.list, g.view)
	}
	return g.all
}

// concernsAll says whether the order of election may be another for every virtual IP.
func concernsAll(c member.Change) bool {
	return c.Kind != member.Updated || c.Old.Flags != c.New.Flags || !slices.Equal(c.Old.Labels, c.New.Labels)
}

// seeHoldings has those virtual IPs elected anew of which a member says one thing and
// said another: where many move, each View differs from the one before in a few.
func (g *Grants) seeHoldings(m, other member.Member) {
	for _, h := range m.Holdings {
		if was, is := other.Holding(h.VIP); is && was == h {
			continue
		}
		if o := g.find(h.VIP); o != nil {
			o.stale = true
		}
	}
}

// NextDeadline is when Step must be called if nothing happens before. There is
// none where ok is false. It follows from the last Step.
func (g *Grants) NextDeadline() (at int64, ok bool) {
	at = math.MaxInt64
	for _, o := range g.offices {
		at = min(at, o.deadline)
	}
	return at, at != math.MaxInt64
}

// Until says whether this node holds the virtual IP, as of the last Step, and
// until when the address may be brought up, or put back where it was taken off
// by somebody else.
func (g *Grants) Until(vip string) (until int64, holds bool) {
	o := g.find(vip)
	if o == nil || o.state != Holding {
		return 0, false
	}
	return g.until(o), true
}

// until is the end of the lease. Availability goes on without one, and lets go
// when it hears of another holder: whoever acts late may have missed that.
func (g *Grants) until(o *office) int64 {
	if g.policy(o) == Availability {
		return max(o.heldUntil, g.now+g.t.keep)
	}
	return o.heldUntil
}

func (g *Grants) search(vip string) (int, bool) {
	return slices.BinarySearchFunc(g.offices, vip, func(o *office, vip string) int { return strings.Compare(o.vip, vip) })
}

// find returns the office of a virtual IP, or nil.
func (g *Grants) find(vip string) *office {
	if i, ok := g.search(vip); ok {
		return g.offices[i]
	}
	return nil
}

// office returns that of a virtual IP that a member names, or nil if too many were named
// that are not configured here.
func (g *Grants) office(vip string) *office {
	if o := g.find(vip); o != nil || g.strange >= MaxVIPs {
		return o
	}
	return g.establish(vip)
}

// establish returns the office of a virtual IP, a new one if there is none.
func (g *Grants) establish(vip string) *office {
	i, ok := g.search(vip)
	if !ok {
		g.offices = slices.Insert(g.offices, i, newOffice(strings.Clone(vip), g.now))
		g.strange++
	}
	return g.offices[i]
}

// configure takes over the specs, MaxVIPs of them at most. What a member granted does not
// depend on them: a node that has not heard of a virtual IP yet grants it all the same.
func (g *Grants) configure(specs []Spec) {
	wanted := map[string]bool{}
	for _, spec := range specs {
		if validName(spec.VIP) && len(wanted) < MaxVIPs {
			o := g.establish(spec.VIP)
			if o.elector == nil || !o.elector.spec.equal(&spec) {
				o.elector, o.stale = newElector(spec, g.list, o.elector, nil), true
			}
			wanted[spec.VIP] = true
		}
	}
	for _, o := range g.offices {
		if o.elector != nil && !wanted[o.vip] {
			o.elector, o.stale = nil, true
		}
	}
	g.strange = len(g.offices) - len(wanted)
}

// setList takes over a list. Grants stay with their ids: they are promises.
func (g *Grants) setList(list List) {
	moved := newMove(g.list, list)
	g.all, g.scratch = nil, newSubset(list.Len())
	g.list, g.me, g.others = list, nobody, make([]string, 0, list.Len())
	for i := range list.Len() {
		if list.ID(i) == g.self {
			g.me = i
		} else {
			g.others = append(g.others, list.ID(i))
		}
	}
	for _, o := range g.offices {
		o.relist(list, moved)
	}
}

// forget drops offices that nothing is known of any more.
func (g *Grants) forget() {
	if g.strange == 0 {
		return
	}
	before := len(g.offices)
	g.offices = slices.DeleteFunc(g.offices, func(o *office) bool {
		return o.elector == nil && o.state == Idle && !o.granted.live(g.now) && o.repeats == 0 &&
			g.now-o.touched > g.t.silent
	})
	g.strange -= before - len(g.offices)
}

// sentAt is when the request of that number was sent, if that is still known.
func (g *Grants) sentAt(seq uint64) (int64, bool) {
	s := g.sent[seq%sentKept]
	return s.at, s.seq == seq && seq != 0
}
