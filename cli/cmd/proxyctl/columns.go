package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// tableOf lays resources of one kind out as a table.
func tableOf(kind string, items []item, wide bool, now time.Time) (header []string, rows [][]cell) {
	if wide {
		return tableWithin(kind, items, true, 0, now)
	}
	return fitted(func(limit int) ([]string, [][]cell) { return tableWithin(kind, items, false, limit, now) })
}

// tableWithin is tableOf with a limit to what lists take; 0: none.
func tableWithin(kind string, items []item, wide bool, limit int, now time.Time) (header []string, rows [][]cell) {
	switch kind {
	case resource.Listener:
		header = []string{"NAME", "PORT", "PROTOCOL", "ADDRESSES"}
	case resource.Route:
		header = []string{"NAME", "HOSTS", "MATCH", "ACTION"}
		if wide {
			header = append(header, "LISTENERS", "PRIORITY")
		}
	case resource.Upstream:
		header = []string{"NAME", "ENDPOINTS", "BALANCING"}
	case resource.Certificate:
		header = certificateHeader(wide)
	case resource.VirtualIP:
		header = []string{"NAME", "ADDRESS", "ANNOUNCE", "POLICY", "NODES"}
		if wide {
			header = append(header, "PREFERENCE", "PREEMPT")
		}
	case resource.Node:
		return nodeTable(items, wide, now)
	default:
		header = []string{"NAME"}
	}
	if wide {
		header = append(header, "LABELS")
	}
	for _, it := range items {
		cells := []string{it.name}
		switch kind {
		case resource.Listener:
			cells = append(cells, listenerCells(it.decoded.GetListener(), limit)...)
		case resource.Route:
			cells = append(cells, routeCells(it.decoded.GetRoute(), wide, limit)...)
		case resource.Upstream:
			cells = append(cells, upstreamCells(it.decoded.GetUpstream(), limit)...)
		case resource.VirtualIP:
			cells = append(cells, virtualIPCells(it.decoded.GetVirtualIp(), wide, limit)...)
		case resource.Certificate:
			cells = append(cells, certificateCells(it.decoded.GetCertificate(), wide, limit, now)...)
			for len(cells) < len(header)-1 || !wide && len(cells) < len(header) {
				cells = append(cells, "") // of one that cannot be read
			}
		}
		if wide {
			cells = append(cells, labelText(it.labels))
		}
		rows = append(rows, row(cells...))
	}
	return header, rows
}

func listenerCells(l *fleetv1.Listener, limit int) []string {
	addresses := l.GetAddresses()
	if len(addresses) == 0 {
		addresses = []string{"NODE and every VirtualIP"}
	}
	protocol := ""
	if l.GetProtocol() != fleetv1.Listener_PROTOCOL_UNSPECIFIED {
		protocol = l.GetProtocol().String()
	}
	return []string{strconv.FormatUint(uint64(l.GetPort()), 10), protocol, short(addresses, limit)}
}

func routeCells(r *fleetv1.Route, wide bool, limit int) []string {
	hosts := r.GetHosts()
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	cells := []string{short(hosts, limit), cut(matchText(r.GetMatch()), limit), actionText(r, limit)}
	if wide {
		listeners := "all"
		if len(r.GetListeners()) > 0 {
			listeners = strings.Join(r.GetListeners(), ",")
		}
		cells = append(cells, listeners, strconv.Itoa(int(r.GetPriority())))
	}
	return cells
}

// matchText says what a route matches besides hosts, in few words.
func matchText(m *fleetv1.Match) string {
	var words []string
	if len(m.GetMethods()) > 0 {
		words = append(words, strings.Join(m.GetMethods(), "|"))
	}
	if p := m.GetPath(); p != nil {
		switch {
		case p.Exact != nil:
			words = append(words, "="+*p.Exact)
		case p.Prefix != nil:
			words = append(words, *p.Prefix+"…")
		case p.Regex != nil:
			words = append(words, "~"+*p.Regex)
		}
	}
	for _, h := range m.GetHeaders() {
		words = append(words, "header "+conditionText(h.GetName(), h.GetInvert(), h.Exact, h.Prefix, h.Regex))
	}
	for _, q := range m.GetQuery() {
		words = append(words, "query "+conditionText(q.GetName(), q.GetInvert(), q.Exact, q.Prefix, q.Regex))
	}
	if len(m.GetClientCidrs()) > 0 {
		words = append(words, "from "+strings.Join(m.GetClientCidrs(), "|"))
	}
	if len(words) == 0 {
		return "everything"
	}
	return strings.Join(words, " ")
}

func conditionText(name string, invert bool, exact, prefix, regex *string) string {
	text := name
	switch {
	case exact != nil:
		text += "=" + *exact
	case prefix != nil:
		text += "=" + *prefix + "…"
	case regex != nil:
		text += "~" + *regex
	}
	if invert {
		text = "not " + text
	}
	return text
}

// actionText says what a route does, in few words.
func actionText(r *fleetv1.Route, limit int) string {
	switch {
	case len(r.GetForward()) > 0:
		var targets []string
		for _, f := range r.GetForward() {
			targets = append(targets, weighted(f.GetUpstream(), f.Weight))
		}
		return "forward " + short(targets, limit)
	case r.GetRedirect() != nil:
		status := uint32(302)
		if given := r.GetRedirect().Status; given != nil {
			status = *given
		}
		return cut(fmt.Sprintf("redirect %d %s", status, redirectText(r.GetRedirect())), limit)
	case r.GetRespond() != nil:
		return fmt.Sprintf("respond %d", r.GetRespond().GetStatus())
	default:
		return ""
	}
}

// weighted is a name with its weight, if one is written.
func weighted(name string, weight *uint32) string {
	if weight == nil {
		return name
	}
	return name + "=" + strconv.FormatUint(uint64(*weight), 10)
}

func redirectText(d *fleetv1.Redirect) string {
	var b strings.Builder
	if d.Scheme != nil {
		b.WriteString(*d.Scheme + "://")
	}
	b.WriteString(d.GetHost())
	if d.Port != nil {
		fmt.Fprintf(&b, ":%d", *d.Port)
	}
	switch {
	case d.Path != nil:
		b.WriteString(*d.Path)
	case d.Prefix != nil:
		b.WriteString(*d.Prefix + "…")
	}
	return b.String()
}

func upstreamCells(u *fleetv1.Upstream, limit int) []string {
	var endpoints []string
	for _, e := range u.GetEndpoints() {
		endpoints = append(endpoints, weighted(e.GetAddress(), e.Weight))
	}
	balancing := "ROUND_ROBIN"
	if given := u.GetLoadBalancing().GetAlgorithm(); given != fleetv1.LoadBalancing_ALGORITHM_UNSPECIFIED {
		balancing = given.String()
	}
	return []string{short(endpoints, limit), balancing}
}

// virtualIPCells tells what is configured; who holds it is told by proxyctl vip.
func virtualIPCells(v *fleetv1.VirtualIP, wide bool, limit int) []string {
	var announce, policy string
	if given := v.GetAnnounce(); given != fleetv1.VirtualIP_ANNOUNCE_UNSPECIFIED {
		announce = given.String()
	}
	if given := v.GetPartitionPolicy(); given != fleetv1.VirtualIP_PARTITION_POLICY_UNSPECIFIED {
		policy = given.String()
	}
	nodes := slices.Clone(v.GetNodes().GetNames())
	if labels := v.GetNodes().GetLabels(); len(labels) > 0 {
		nodes = append(nodes, labelText(labels))
	}
	if len(nodes) == 0 {
		nodes = []string{"all"}
	}
	cells := []string{v.GetAddress(), announce, policy, short(nodes, limit)}
	if wide {
		cells = append(cells, short(v.GetPreference(), limit), strconv.FormatBool(v.GetPreempt()))
	}
	return cells
}

func nodeTable(items []item, wide bool, now time.Time) (header []string, rows [][]cell) {
	header = []string{"NODE", "STATE", "WANTED", "RUNNING", "CONNECTIONS", "REQUESTS", "LAST SEEN"}
	if wide {
		header = append(header, "CONTROL PLANE", "DIGEST", "ERRORS", "UPTIME", "BUILD", "SCHEMA", "EXPECTED", "LABELS")
	}
	for _, it := range items {
		n := *it.node
		cells := []cell{
			{text: n.ID},
			stateCell(n),
			{text: strconv.FormatUint(n.Wanted.Revision, 10)},
			{text: runningText(n)},
			{text: countText(n, n.Connections, now)},
			{text: countText(n, n.Requests, now)},
			{text: ago(n.LastSeen, now)},
		}
		if wide {
			cells = append(cells, row(
				n.ControlPlane, cut(n.Attested, 12), countText(n, n.Errors, now),
				(time.Duration(n.UptimeSeconds)*time.Second).String(), n.Build,
				strconv.FormatUint(uint64(n.SchemaLevel), 10), strconv.FormatBool(n.Expected), labelText(n.Labels))...)
		}
		rows = append(rows, cells)
	}
	return header, rows
}

// countsFor is for how long what another control plane told of a node's traffic is shown in
// tables. Nodes count anew every 5 seconds.
const countsFor = 30 * time.Second

// countText is a count of a node; empty if it is from long ago.
func countText(n api.NodeStatus, count uint64, now time.Time) string {
	if n.CountedAt != nil && now.Sub(*n.CountedAt) > countsFor {
		return ""
	}
	return strconv.FormatUint(count, 10)
}

// stateCell is a node's state, and that it is drained, or still is: such a node runs what
// it should and carries nothing.
func stateCell(n api.NodeStatus) cell {
	c := cell{string(n.State), stateColour(n.State)}
	switch {
	case n.Drained:
		c.text += ", drained"
	case undraining(n):
		c.text += ", undraining"
	case n.State == api.Synced && len(n.Problems) > 0: // as with its name
		c.text += ", " + counted(len(n.Problems), "problem")
	default:
		return c
	}
	if n.State == api.Synced {
		c.colour = yellow
	}
	return c
}

func stateColour(s api.NodeState) colour {
	switch s {
	case api.Synced:
		return green
	case api.Updating:
		return yellow
	default:
		return red
	}
}

func runningText(n api.NodeStatus) string {
	if n.Running == nil {
		return ""
	}
	text := strconv.FormatUint(n.Running.Revision, 10)
	if n.Running.Epoch != n.Wanted.Epoch {
		text += " (epoch " + strconv.FormatUint(n.Running.Epoch, 10) + ")"
	}
	return text
}

// ago is how long ago something was, to the unit that matters.
func ago(at *time.Time, now time.Time) string {
	if at == nil {
		return ""
	}
	d := max(0, now.Sub(*at))
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	}
}

func labelText(labels map[string]string) string {
	words := make([]string, 0, len(labels))
	for k, v := range labels {
		words = append(words, k+"="+v)
	}
	slices.Sort(words)
	return strings.Join(words, ",")
}

// short joins words by comma; what does not fit in limit is counted.
func short(words []string, limit int) string {
	text := ""
	for i, w := range words {
		if i > 0 {
			w = "," + w
		}
		if limit > 0 && len(text)+len(w) > limit && i > 0 {
			return fmt.Sprintf("%s +%d", text, len(words)-i)
		}
		text += w
	}
	return text
}

// cut shortens text to limit runes; 0 is no limit.
func cut(text string, limit int) string {
	runes := []rune(text)
	if limit == 0 || len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}
