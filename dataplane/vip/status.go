package vip

// Status is how one virtual IP stands, as this node sees it.
type Status struct {
	VIP   string
	State State
	// Since is when the node came into the state, by the clock of Step.
	Since int64
	// Term is this node's, if it holds or asks.
	Term uint64
	// Holder is the id of who holds, as far as this node knows.
	Holder string
	// Alive of the Expected members are in the View; Needed make a majority.
	Alive, Expected, Needed int
	// Revision is that of the list of expected members.
	Revision uint64
	// Policy is the one in force, Why says why if the VirtualIP says otherwise.
	Policy Policy
	Why    string
}

// Status returns how the virtual IPs that are configured stand, by name.
func (g *Grants) Status() []Status {
	alive := 0
	for m := range g.view.All() {
		if _, ok := g.list.Index(m.ID); ok {
			alive++
		}
	}
	var all []Status
	for _, o := range g.offices {
		if o.elector == nil {
			continue
		}
		s := Status{
			VIP: o.vip, State: o.state, Since: o.since,
			Alive: alive, Expected: g.list.Len(), Needed: g.list.Needed(), Revision: g.list.Revision,
		}
		s.Policy, s.Why = o.elector.policy()
		s.Holder = g.holder(o)
		if o.state == Asking || o.state == Holding {
			s.Term = o.term
		}
		all = append(all, s)
	}
	return all
}

// holder is the id of who holds, as far as this node knows; empty: nobody.
func (g *Grants) holder(o *office) string {
	switch {
	case o.state == Holding:
		return g.self
	case o.holder.live(g.now):
		return g.list.ID(o.holder.who)
	}
	return ""
}
