package rest

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func (s *Server) vipOperations() []operation {
	return []operation{
		{
			method: http.MethodGet, path: api.PathVIPs, id: "listVIPs",
			summary: "All virtual IPs: who holds them, and how every node sees that.",
			answers: []answer{{status: http.StatusOK, shape: api.VIPList{}}},
			handle:  s.listVIPs,
		},
		{
			method: http.MethodGet, path: api.PathVIPs + "/:name", id: "getVIP",
			summary: "One virtual IP: who holds it, and how every node sees that.",
			answers: []answer{{status: http.StatusOK, shape: api.VIPStatus{}}},
			errors:  []api.ErrorType{api.TypeNotFound},
			handle:  s.getVIP,
		},
	}
}

func (s *Server) listVIPs(c *gin.Context) error {
	list := api.VIPList{Items: []api.VIPStatus{}}
	now, asOf, err := s.currentOrLast(c.Request.Context())
	if err != nil {
		return err
	}
	reports, expected := s.cfg.Nodes.VIPs(), expectedOf(s.cfg.Nodes.Nodes())
	for leaf := range now.Tree.All() {
		if leaf.Key.Kind != resource.VirtualIP {
			continue
		}
		v, err := s.vipStatus(leaf, asOf, reports[leaf.Key.Name], expected)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, v)
	}
	slices.SortFunc(list.Items, func(a, b api.VIPStatus) int { return strings.Compare(a.Name, b.Name) })
	return answerJSON(c, http.StatusOK, list)
}

func (s *Server) getVIP(c *gin.Context) error {
	name, err := pathValue(c, "name")
	if err != nil {
		return err
	}
	now, asOf, err := s.currentOrLast(c.Request.Context())
	if err != nil {
		return err
	}
	leaf, ok := now.Tree.Get(tree.Key{Kind: resource.VirtualIP, Name: name})
	if !ok {
		return api.NewError(api.TypeNotFound, "VirtualIP/%s: there is none", name)
	}
	v, err := s.vipStatus(leaf, asOf, s.cfg.Nodes.VIPs()[name], expectedOf(s.cfg.Nodes.Nodes()))
	if err != nil {
		return err
	}
	return answerJSON(c, http.StatusOK, v)
}

// vipStatus is that of package api, with what is known of the store.
func (s *Server) vipStatus(leaf tree.Leaf, asOf *time.Time, reports []api.VIPReport, expected []string) (api.VIPStatus, error) {
	v, err := vipStatus(leaf, reports, expected)
	if asOf != nil {
		v.ConfiguredAsOf = asOf
		ago := s.cfg.Now().Sub(*asOf).Round(time.Second)
		v.Problems = append(v.Problems, fmt.Sprintf("etcd does not answer the control plane: the configuration is as it was %s ago", ago))
	}
	return v, err
}

// expectedOf are the ids of the nodes that count, sorted.
func expectedOf(nodes []api.NodeStatus) []string {
	var ids []string
	for i := range nodes {
		if nodes[i].Expected {
			ids = append(ids, nodes[i].ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// vipStatus puts together what is wanted, what the nodes report, and which of the
// expected nodes, sorted, do not.
func vipStatus(leaf tree.Leaf, reports []api.VIPReport, expected []string) (api.VIPStatus, error) {
	r, err := resource.Parse(leaf.Bytes)
	if err != nil {
		return api.VIPStatus{}, err
	}
	v := api.VIPStatus{Name: leaf.Key.Name, Address: r.GetVirtualIp().GetAddress(), Nodes: withSilent(reports, expected)}
	markStale(v.Nodes)
	speaks := speaker(v.Nodes)
	v.Alive, v.Expected, v.Needed = speaks.Alive, speaks.Expected, speaks.Needed
	v.Policy, v.Why, v.ListRevision = speaks.Policy, speaks.Why, speaks.ListRevision
	for _, n := range v.Nodes {
		if n.Holds && !n.Stale {
			v.Holders = append(v.Holders, n.Node)
		}
	}
	if len(v.Holders) == 1 {
		v.Holder, v.Holders = v.Holders[0], nil
		v.Term, v.Since = speaks.Term, speaks.Since
	}
	v.Problems = vipProblems(v)
	return v, nil
}

// withSilent are the reports, with an unknown state of the expected nodes, sorted, that have
// not reported.
func withSilent(reports []api.VIPReport, expected []string) []api.VIPReport {
	order := make([]int, len(reports)) // reports are too large to be moved about
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(reports[i].Node, reports[j].Node) })
	all := make([]api.VIPReport, 0, max(len(reports), len(expected)))
	silent := func(id string) { all = append(all, api.VIPReport{Node: id, State: api.VIPUnknown}) }
	for _, i := range order {
		r := &reports[i]
		for ; len(expected) > 0 && expected[0] <= r.Node; expected = expected[1:] {
			if expected[0] < r.Node {
				silent(expected[0])
			}
		}
		all = append(all, *r)
	}
	for _, id := range expected {
		silent(id)
	}
	return all
}

// markStale marks the reports of nodes that said they hold before another one did
// in a later term, and have not been heard since: a stopped process cannot say that
// it lost what it had.
func markStale(nodes []api.VIPReport) {
	var holders []*api.VIPReport // one, as a rule
	for i := range nodes {
		if nodes[i].Holds {
			holders = append(holders, &nodes[i])
		}
	}
	for _, n := range holders {
		for _, other := range holders {
			if other.Term > n.Term && other.HeldFrom != nil && n.Reported.Before(*other.HeldFrom) {
				n.Stale = true
				n.NotEligible = "not heard of since " + other.Node + " took over"
			}
		}
	}
}

// speaker is the report that is shown for all: the holder's, else that of who
// knows the newest list, and sees the most of its members.
func speaker(reports []api.VIPReport) api.VIPReport {
	var best api.VIPReport
	rank := func(r api.VIPReport) (holds int) {
		if r.Holds && !r.Stale {
			holds = 1
		}
		return holds
	}
	for _, r := range reports {
		if best.Node == "" || cmp.Or(cmp.Compare(rank(r), rank(best)), cmp.Compare(r.ListRevision, best.ListRevision),
			cmp.Compare(r.Alive, best.Alive), strings.Compare(best.Node, r.Node)) > 0 {
			best = r
		}
	}
	return best
}

// vipProblems says what is wrong.
func vipProblems(v api.VIPStatus) (problems []string) {
	var held time.Time // since when the holder is known to
	for _, n := range v.Nodes {
		if n.Node == v.Holder && n.HeldFrom != nil {
			held = *n.HeldFrom
		}
	}
	tell := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	switch {
	case len(v.Holders) > 1:
		tell("%s say that they hold it", strings.Join(v.Holders, " and "))
	case v.Holder == "" && v.Expected == 0:
		tell("no node reports it: nodes take part with --gossip-address")
	case v.SeenHolder() != "":
		tell("%s holds it, as others see it, and does not report", v.SeenHolder())
	case v.Holder == "" && v.Alive < v.Needed:
		tell("nobody holds it: alive %d of %d expected, %d needed", v.Alive, v.Expected, v.Needed)
	case v.Holder == "":
		tell("nobody holds it")
	}
	for _, n := range v.Nodes {
		if n.NotEligible != "" && (v.Holder == "" || n.Node == v.Holder) {
			tell("%s: %s", n.Node, n.NotEligible)
		}
		if n.Conflict != "" {
			tell("%s sees that %s has it too", n.Node, n.Conflict)
		}
		// A node that has said nothing since then does not disagree.
		if v.Holder != "" && n.Holder != "" && n.Holder != v.Holder && !n.Stale && !n.Reported.Before(held) {
			tell("%s takes %s for the holder", n.Node, n.Holder)
		}
		if n.ListRevision != 0 && n.ListRevision != v.ListRevision {
			tell("%s goes by list %d of expected members, others by %d", n.Node, n.ListRevision, v.ListRevision)
		}
	}
	return problems
}
