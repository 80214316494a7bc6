package compile

import (
	"fmt"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/certificate"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// Result is a compiled configuration, with what the next Compile builds on.
// Immutable.
type Result struct {
	Table *table.Table
	Tree  tree.Tree // what Table was made from

	routes table.Trie[*table.Route] // by name
	// Who refers to an upstream or a listener, by its name.
	byUpstream, byListener table.Trie[nameSet]
	certificates           table.Trie[*certificate.Pair] // by name
	// Who refers to a certificate ("Listener/web"), by its name; and the names of
	// the certificates that each of them refers to.
	byCertificate  table.Trie[nameSet]
	certificatesOf table.Trie[[]string]
	// every indexes the routes that name no listener. A listener that no route
	// names shares it; the index of any other was edited from it.
	every table.Index
}

// nameSet is a set of names.
type nameSet = table.Trie[struct{}]

// Route returns the compiled route with the given name, or nil.
func (r *Result) Route(name string) *table.Route {
	route, _ := r.routes.Get(name)
	return route
}

// Compile makes a table of the resources in next, or tells all problems that
// they have. It reads what differs from prev, which may be nil. The permit may
// be nil; it is held while computing only, never for much more than half a
// millisecond at a time.
func Compile(permit Permit, prev *Result, next tree.Tree, v table.Version) (*Result, []resource.Problem) {
	if prev == nil {
		prev = &Result{Table: &table.Table{}}
	}
	c := &compiler{
		meter: meter{permit: permit},
		prev:  prev,
		next:  next,
		edit:  new(table.Edit),
		built: *prev,

		defaults: newRouteDefaults(),
	}
	c.start()
	defer c.stop()
	c.diff()
	c.built.Tree = next
	c.built.Table = &table.Table{Version: v, Root: next.Root()}
	c.compileCertificates()
	c.compileUpstreams()
	c.compileVIPs()
	c.compileListeners()
	c.compileRoutes()
	c.rebindRoutes()
	c.findDangling()
	c.indexRoutes()
	c.attest()
	if len(c.problems) > 0 {
		return nil, c.told()
	}
	routes := c.built.routes
	c.built.Table.Routes = routes.Len()
	c.built.Table.HasRoute = func(name string) bool {
		_, ok := routes.Get(name)
		return ok
	}
	result := c.built
	return &result, nil
}

// compiler is one Compile.
type compiler struct {
	meter
	prev  *Result
	next  tree.Tree
	edit  *table.Edit
	built Result

	// What differs, by kind.
	listeners, upstreams, routes, vips, certificates changes

	defaults routeDefaults
	// moved are the upstreams that have a new object.
	moved []*table.Upstream
	// What the index must learn.
	removed, added, replaced []*table.Route

	regexes     map[string]*compiledRegex
	headers     map[string]*table.HeaderOps // by appendOps
	raw, buf    []byte                      // scratch
	names       map[string][]string
	comparisons int
	twins       map[[2]string]bool
	problems    []resource.Problem
}

// changes are the differences of one kind.
type changes struct {
	upserts []tree.Leaf
	removed []string
}

func (c *changes) any() bool { return len(c.upserts)+len(c.removed) > 0 }

// diff sorts what differs by kind, and refuses the kinds that no table can hold.
func (c *compiler) diff() {
	if c.prev.Tree.Len() == 0 {
		c.routes.upserts = make([]tree.Leaf, 0, c.next.Len()) // most are routes
		for leaf := range c.next.All() {
			c.spend(costLeaf)
			c.sort(leaf)
		}
		return
	}
	upserts, removed := tree.Diff(c.prev.Tree, c.next)
	for i := range upserts {
		c.spend(costLeaf)
		c.sort(upserts[i])
	}
	for _, k := range removed {
		if of := c.changesOf(k.Kind); of != nil {
			of.removed = append(of.removed, k.Name)
		}
	}
}

func (c *compiler) sort(leaf tree.Leaf) {
	if of := c.changesOf(leaf.Key.Kind); of != nil {
		of.upserts = append(of.upserts, leaf)
		return
	}
	r := c.read(&leaf)
	switch {
	case r == nil: // its problems are told
	case leaf.Key.Kind == resource.Node:
		c.tell(leaf.Key, "kind", leaf.Key.Kind, "a kind of the configuration: nodes are fleet state, which proxyctl edit node/"+leaf.Key.Name+" changes")
	default:
		c.tell(leaf.Key, "kind", leaf.Key.Kind, resource.NotSupported)
	}
}

func (c *compiler) changesOf(kind string) *changes {
	switch kind {
	case resource.Listener:
		return &c.listeners
	case resource.Upstream:
		return &c.upstreams
	case resource.Route:
		return &c.routes
	case resource.VirtualIP:
		return &c.vips
	case resource.Certificate:
		return &c.certificates
	}
	return nil
}

// read parses and checks a leaf; nil if it has problems, which are told. Defaults
// are not applied yet.
func (c *compiler) read(leaf *tree.Leaf) *fleetv1.Resource {
	c.spend(costRead + costByte*len(leaf.Bytes))
	if tree.Sum(leaf.Bytes) != leaf.Hash {
		c.tell(leaf.Key, "", "bytes that hash to "+tree.Sum(leaf.Bytes).Short(), "the bytes with the hash "+leaf.Hash.Short())
		return nil
	}
	r, err := resource.Parse(leaf.Bytes)
	if err != nil {
		c.tell(leaf.Key, "", err.Error(), "")
		return nil
	}
	if key := resource.KeyOf(r); key != leaf.Key {
		c.tell(leaf.Key, "name", key.String(), "the resource that the tree has under this key")
		return nil
	}
	if problems := resource.Check(r); len(problems) > 0 {
		c.problems = append(c.problems, problems...)
		return nil
	}
	return r
}

// attest makes sure that every leaf became a part of the table: then the tree's
// root is the table's too.
func (c *compiler) attest() {
	if len(c.problems) > 0 {
		return
	}
	t := c.built.Table
	made := len(t.Listeners) + len(t.Upstreams) + len(t.VirtualIPs) + c.built.routes.Len() + c.built.certificates.Len()
	if made != c.next.Len() {
		c.tell(tree.Key{}, "", fmt.Sprintf("%d resources of a tree that says it has %d", made, c.next.Len()), "all of them")
	}
}

// maxProblems bounds what one Compile tells: nobody reads more, and it must fit
// into a message.
const maxProblems = 1000

func (c *compiler) tell(key tree.Key, field, got, expected string) {
	c.problems = append(c.problems, resource.Problem{Kind: key.Kind, Name: key.Name, Field: field, Got: got, Expected: expected})
}

// told are the problems in order, as many as are told at once.
func (c *compiler) told() []resource.Problem {
	resource.SortProblems(c.problems)
	if n := len(c.problems); n > maxProblems {
		c.problems = append(c.problems[:maxProblems], resource.Problem{
			Got: fmt.Sprintf("%d more problems", n-maxProblems), Expected: fmt.Sprintf("at most %d are told at once", maxProblems),
		})
	}
	return c.problems
}

// exists tells whether a resource is in the configuration, however broken.
func (c *compiler) exists(kind, name string) bool {
	_, ok := c.next.Get(tree.Key{Kind: kind, Name: name})
	return ok
}

// maxComparisons bounds the work that goes into suggestions, to about 100 ms.
const maxComparisons = 1_000_000

// missing tells that from refers to what is not there.
func (c *compiler) missing(from tree.Key, field string, to tree.Key) {
	names, known := c.names[to.Kind]
	if !known {
		switch to.Kind {
		case resource.Upstream:
			for _, u := range c.built.Table.Upstreams {
				names = append(names, u.Name)
			}
		case resource.Listener:
			for i := range c.built.Table.Listeners {
				names = append(names, c.built.Table.Listeners[i].Name)
			}
		case resource.VirtualIP:
			for i := range c.built.Table.VirtualIPs {
				names = append(names, c.built.Table.VirtualIPs[i].Name)
			}
		case resource.Certificate:
			for name := range c.built.certificates.All() {
				names = append(names, name)
			}
		}
		if c.names == nil {
			c.names = map[string][]string{}
		}
		c.names[to.Kind] = names
	}
	near := ""
	if c.comparisons += len(names); c.comparisons <= maxComparisons {
		c.spend(100 * len(names))
		near = resource.Nearest(to.Name, names)
	}
	c.problems = append(c.problems, resource.Missing(from, field, to, near))
}

// quote shows a value in a problem.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}
