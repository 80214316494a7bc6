package compile

import (
	"errors"
	"fmt"
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// compileRoutes makes the routes that changed, and notes who refers to whom. What
// they were before is gone even if they cannot be made, so that nothing is held
// against it.
func (c *compiler) compileRoutes() {
	for _, name := range c.routes.removed {
		c.dropRoute(name)
	}
	for i := range c.routes.upserts {
		leaf := &c.routes.upserts[i]
		c.dropRoute(leaf.Key.Name)
		r := c.read(leaf)
		if r == nil {
			continue
		}
		if route := c.route(leaf.Key, r.GetRoute()); route != nil {
			c.added = append(c.added, route)
			c.remember(route)
			c.built.routes = c.built.routes.Set(c.edit, route.Name, route)
		}
	}
}

// dropRoute forgets what a route was in the previous result, if it was there.
func (c *compiler) dropRoute(name string) {
	old, ok := c.built.routes.Get(name)
	if !ok {
		return
	}
	c.removed = append(c.removed, old)
	c.forget(old)
	c.built.routes = c.built.routes.Delete(c.edit, name)
}

// remember notes whom r refers to.
func (c *compiler) remember(r *table.Route) {
	for i := range r.Targets {
		if u := r.Targets[i].Upstream; u != nil {
			c.refer(&c.built.byUpstream, u.Name, r.Name)
		}
	}
	for _, l := range r.Listeners {
		c.refer(&c.built.byListener, l, r.Name)
	}
}

func (c *compiler) refer(by *table.Trie[nameSet], to, from string) {
	c.spend(costRef)
	*by = by.Update(c.edit, to, func(set nameSet) nameSet { return set.Set(c.edit, from, struct{}{}) })
}

// forget takes back what remember noted.
func (c *compiler) forget(r *table.Route) {
	for i := range r.Targets {
		c.unrefer(&c.built.byUpstream, r.Targets[i].Upstream.Name, r.Name)
	}
	for _, l := range r.Listeners {
		c.unrefer(&c.built.byListener, l, r.Name)
	}
}

func (c *compiler) unrefer(by *table.Trie[nameSet], to, from string) {
	c.spend(costRef)
	set, _ := by.Get(to)
	if set = set.Delete(c.edit, from); set.Len() == 0 {
		*by = by.Delete(c.edit, to)
		return
	}
	*by = by.Set(c.edit, to, set)
}

// rebindRoutes gives the routes that did not change, but whose upstreams have new
// objects, those objects.
func (c *compiler) rebindRoutes() {
	for _, moved := range c.moved {
		users, _ := c.built.byUpstream.Get(moved.Name)
		for name := range users.All() {
			r, _ := c.built.routes.Get(name)
			targets, stale := c.currentTargets(r)
			if !stale {
				continue // it was made in this Compile, or bound for another upstream
			}
			c.spend(2 * costRef)
			next := r.WithTargets(targets)
			c.replaced = append(c.replaced, next)
			c.built.routes = c.built.routes.Set(c.edit, name, next)
		}
	}
}

// currentTargets are r's targets with the upstreams of the new table. A target
// without one is that of a route that has problems.
func (c *compiler) currentTargets(r *table.Route) (targets []table.Target, stale bool) {
	for i := range r.Targets {
		if u := r.Targets[i].Upstream; u != nil && c.built.Table.Upstream(u.Name) != u {
			stale = true
		}
	}
	if !stale {
		return nil, false
	}
	targets = slices.Clone(r.Targets)
	for i := range targets {
		if u := targets[i].Upstream; u != nil {
			targets[i].Upstream = c.built.Table.Upstream(u.Name)
		}
	}
	return targets, true
}

// findDangling tells which routes that did not change refer to what is there no
// more. Those that changed were told when they were made.
func (c *compiler) findDangling() {
	if len(c.upstreams.removed)+len(c.listeners.removed) == 0 {
		return
	}
	told := map[string]bool{}
	for i := range c.routes.upserts {
		told[c.routes.upserts[i].Key.Name] = true
	}
	find := func(by *table.Trie[nameSet], gone []string) {
		for _, name := range gone {
			users, _ := by.Get(name)
			for user := range users.All() {
				if !told[user] {
					told[user] = true
					c.tellDangling(tree.Key{Kind: resource.Route, Name: user})
				}
			}
		}
	}
	find(&c.built.byUpstream, c.upstreams.removed)
	find(&c.built.byListener, c.listeners.removed)
}

// tellDangling reads a resource again to find out where it refers to what is not
// there.
func (c *compiler) tellDangling(key tree.Key) {
	leaf, ok := c.next.Get(key)
	if !ok || len(c.problems) > maxProblems {
		return
	}
	r, err := resource.Parse(leaf.Bytes)
	if err != nil {
		return // it was read without error before
	}
	c.spend(costRead + costByte*len(leaf.Bytes))
	for field, to := range resource.References(r) {
		if !c.exists(to.Kind, to.Name) {
			c.missing(key, field, to)
		}
	}
}

// indexRoutes brings the listeners' indexes up to date.
func (c *compiler) indexRoutes() {
	c.indexEvery()
	for i := range c.built.Table.Listeners {
		l := &c.built.Table.Listeners[i]
		if !l.Protocol.CarriesRoutes() {
			c.indexConnections(l)
			continue
		}
		named, _ := c.built.byListener.Get(l.Name)
		if named.Len() == 0 {
			l.Routes = c.built.every // shared
			continue
		}
		before, _ := c.prev.byListener.Get(l.Name)
		if old := c.prev.Table.Listener(l.Name); old != nil && old.Protocol.CarriesRoutes() && before.Len() > 0 {
			l.Routes = c.edited(&old.Routes, l.Name, func(r *table.Route) bool { return livesOn(r, l.Name) })
			continue
		}
		e := c.built.every.Edit()
		for name := range named.All() {
			r, _ := c.built.routes.Get(name)
			c.add(e, r, l.Name)
		}
		l.Routes = e.Index()
	}
}

func livesOn(r *table.Route, listener string) bool {
	return len(r.Listeners) == 0 || slices.Contains(r.Listeners, listener)
}

// indexEvery brings the index of the routes that name no listener up to date.
func (c *compiler) indexEvery() {
	c.built.every = c.edited(&c.prev.every, "", func(r *table.Route) bool { return len(r.Listeners) == 0 })
}

// edited is an index with what this Compile changed, as far as it lives there.
func (c *compiler) edited(x *table.Index, listener string, here func(*table.Route) bool) table.Index {
	if len(c.removed)+len(c.added)+len(c.replaced) == 0 {
		return *x
	}
	e := x.Edit()
	for _, r := range c.removed {
		if here(r) {
			c.spend(costIndex * max(1, len(r.Hosts)))
			e.Remove(r)
		}
	}
	for _, r := range c.replaced {
		if here(r) {
			c.spend(costIndex * max(1, len(r.Hosts)))
			e.Replace(r)
		}
	}
	for _, r := range c.added {
		if here(r) {
			c.add(e, r, listener)
		}
	}
	return e.Index()
}

// add puts r into an index and tells why it must not be there.
func (c *compiler) add(e *table.Editor, r *table.Route, listener string) {
	c.spend(costIndex * max(1, len(r.Hosts)))
	for _, err := range e.Add(r) {
		var (
			twin    *table.TwinError
			sharing *table.SharingError
		)
		switch {
		case errors.As(err, &twin):
			c.tellTwins(r, twin.Twin, twin.Host, listener)
		case errors.As(err, &sharing):
			c.tell(tree.Key{Kind: resource.Route, Name: r.Name}, "spec.match",
				fmt.Sprintf("the same path as %d other routes on %s", table.MaxSharing, table.HostText(sharing.Host)),
				"a path that fewer routes share, or a host of its own: such routes are tried one after the other")
		}
	}
}

// tellTwins names both of two routes with the same match, once.
func (c *compiler) tellTwins(a, b *table.Route, host, listener string) {
	first, second := min(a.Name, b.Name), max(a.Name, b.Name)
	if c.twins[[2]string{first, second}] {
		return
	}
	if c.twins == nil {
		c.twins = map[[2]string]bool{}
	}
	c.twins[[2]string{first, second}] = true
	where := table.HostText(host)
	if listener != "" {
		where += " of listener " + listener
	}
	c.tell(tree.Key{Kind: resource.Route, Name: second}, "spec.match",
		fmt.Sprintf("the same match as Route/%s on %s", first, where),
		"a match, a priority or hosts of its own")
}
