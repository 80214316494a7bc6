package publish

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// keptResults bounds the compiled candidates beside the wanted one. They share
// what they have in common; one that shares nothing costs up to 1 KiB a route.
const keptResults = 4

// compiler compiles one tree at a time and keeps the last results by root.
type compiler struct {
	turn   chan struct{} // holds a token while somebody compiles
	cached atomic.Uint64 // checks that found their result
	ran    atomic.Uint64 // compilations

	// guarded by mu
	mu      sync.Mutex
	wanted  *compile.Result
	version tree.Version      // of wanted
	results []*compile.Result // last used first, at most keptResults
}

func (c *compiler) init() { c.turn = make(chan struct{}, 1) }

// check returns what is wrong with the tree. base is the root of a tree near it,
// whose result, if it is known, makes this cheap.
func (c *compiler) check(ctx context.Context, base tree.Hash, next tree.Tree, v tree.Version) []resource.Problem {
	root := next.Root()
	if c.find(root) != nil {
		c.cached.Add(1)
		return nil
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return []resource.Problem{{Got: "not checked: " + ctx.Err().Error(), Expected: "a check that may run to its end"}}
	}
	if c.find(root) != nil { // somebody else compiled it meanwhile
		c.cached.Add(1)
		return nil
	}
	prev := c.find(base)
	if prev == nil {
		prev, _ = c.current()
	}
	c.ran.Add(1)
	result, problems := compile.Compile(nil, prev, next, table.Version{Epoch: v.Epoch, Revision: v.Revision})
	if len(problems) > 0 {
		return problems
	}
	c.put(result)
	return nil
}

// find returns the result of a root, and makes it the last used.
func (c *compiler) find(root tree.Hash) *compile.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted != nil && c.wanted.Tree.Root() == root {
		return c.wanted
	}
	i := c.index(root)
	if i < 0 {
		return nil
	}
	r := c.results[i]
	c.results = slices.Insert(slices.Delete(c.results, i, i+1), 0, r)
	return r
}

func (c *compiler) index(root tree.Hash) int {
	return slices.IndexFunc(c.results, func(r *compile.Result) bool { return r.Tree.Root() == root })
}

// current is what is wanted; nil before anything was.
func (c *compiler) current() (*compile.Result, tree.Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wanted, c.version
}

func (c *compiler) put(r *compile.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.results) == keptResults {
		c.results = slices.Delete(c.results, keptResults-1, keptResults)
	}
	c.results = slices.Insert(c.results, 0, r)
}

// keepWanted keeps the result of the wanted version for as long as it is wanted.
func (c *compiler) keepWanted(v tree.Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.index(v.Root); i >= 0 {
		c.wanted = c.results[i]
		c.results = slices.Delete(c.results, i, i+1)
	}
	if c.wanted != nil && c.wanted.Tree.Root() == v.Root { // else it fell out of the results
		c.version = v
	}
}
