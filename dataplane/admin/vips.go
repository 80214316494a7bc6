package admin

import (
	"net/http"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/agent"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// VIPState is the node's part in virtual IPs at this moment.
type VIPState struct {
	// Gossip is where the node gossips; empty: it does not, Off says why.
	Gossip, Off string
	// ListRevision is that of the list of expected members by which it grants,
	// Expected the members that it has kept.
	ListRevision uint64
	Expected     []string
	Agent        agent.State
	Statuses     []*fleetv1.VipStatus
}

// LiveVIPs answers /vips.
type LiveVIPs struct {
	Node   string `json:"node"`
	Gossip string `json:"gossip,omitempty"`
	Off    string `json:"off,omitempty"`

	ListRevision uint64   `json:"listRevision,omitempty"`
	Expected     []string `json:"expected,omitempty"`

	Agent   *LiveAgent   `json:"agent,omitempty"`
	Members []LiveMember `json:"members,omitempty"`
	VIPs    []LiveVIP    `json:"vips"`
}

// LiveVIP is a virtual IP as this node sees it.
type LiveVIP struct {
	Name string `json:"name"`
	api.VIPReport
}

// LiveAgent is the vip-agent.
type LiveAgent struct {
	Running     bool   `json:"running"`
	PID         int    `json:"pid,omitempty"`
	Restarts    int    `json:"restarts"`
	LastProblem string `json:"lastProblem,omitempty"`
}

// LiveMember is a node that gossip knows to be there.
type LiveMember struct {
	Node         string   `json:"node"`
	Address      string   `json:"address"`
	Flags        string   `json:"flags"`
	ListRevision uint64   `json:"listRevision,omitempty"`
	Holds        []string `json:"holds,omitempty"`
}

func (s *Server) showVIPs(w http.ResponseWriter, _ *http.Request) {
	if s.config.VIPs == nil {
		http.Error(w, "this node runs on a file: it is in no fleet that could hold virtual IPs", http.StatusNotImplemented)
		return
	}
	state := s.config.VIPs()
	out := LiveVIPs{
		Node: s.config.NodeID, Gossip: state.Gossip, Off: state.Off,
		ListRevision: state.ListRevision, Expected: state.Expected,
		VIPs: []LiveVIP{},
	}
	if state.Gossip != "" {
		a := state.Agent
		out.Agent = &LiveAgent{Running: a.Running, PID: a.PID, Restarts: a.Restarts, LastProblem: a.Problem}
	}
	for _, m := range state.Agent.Report.GetMembers() {
		out.Members = append(out.Members, LiveMember{
			Node: m.GetNodeId(), Address: m.GetAddress(), Flags: m.GetFlags(), ListRevision: m.GetListRevision(), Holds: m.GetHolds(),
		})
	}
	for _, v := range state.Statuses {
		out.VIPs = append(out.VIPs, LiveVIP{v.GetVip(), report(s.config.NodeID, v)})
	}
	writeJSON(w, http.StatusOK, out)
}

func report(node string, v *fleetv1.VipStatus) api.VIPReport {
	r := api.VIPReport{
		Node: node, State: api.VIPState(v.GetState().String()), Holds: v.GetHolds(), Holder: v.GetHolder(), Term: v.GetTerm(),
		Alive: v.GetAlive(), Expected: v.GetExpected(), Needed: v.GetNeeded(),
		Why: v.GetWhy(), ListRevision: v.GetListRevision(), Conflict: v.GetConflict(),
		NotEligible: v.GetNotEligible(),
	}
	if v.GetPolicy() != fleetv1.VirtualIP_PARTITION_POLICY_UNSPECIFIED {
		r.Policy = v.GetPolicy().String()
	}
	if ms := v.GetSinceUnixMs(); ms > 0 {
		r.Since = moment(time.UnixMilli(ms))
	}
	return r
}

// vips writes what is counted of virtual IPs.
func (s *scrape) vips() {
	if s.config.VIPs == nil {
		return
	}
	state := s.config.VIPs()
	if state.Gossip == "" {
		return
	}
	s.flag(metricAgentRunning, state.Agent.Running)
	s.counter(metricAgentRestarts, uint64(state.Agent.Restarts)) //nolint:gosec // counts up from 0
	s.counter(metricSocketsCut, uint64(state.Agent.Cut))         //nolint:gosec // likewise
	s.counter(metricInboxLost, state.Agent.Report.GetInboxLost())
	s.gauge(metricMembersAlive, float64(len(state.Agent.Report.GetMembers())))
	s.gauge(metricMembersExpected, float64(len(state.Expected)))
	for _, v := range state.Statuses {
		s.labelled(metricVIPHeld, v.GetHolds(), v.GetVip())
		s.labelled(metricVIPConflict, v.GetConflict() != "", v.GetVip())
		s.labelled(metricVIPVacant, v.GetHolder() == "", v.GetVip())
	}
}

func (s *scrape) labelled(name string, v bool, labels ...string) {
	if v {
		s.gauge(name, 1, labels...)
	} else {
		s.gauge(name, 0, labels...)
	}
}
