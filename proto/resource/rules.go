package resource

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// rule is what the schema's options cannot say about a message, mostly because
// it concerns several fields.
type rule func(c *checker, ms *messageSchema, m protoreflect.Message)

// maxBody bounds the body that a route answers with: nodes hold it in memory.
const maxBody = 64 << 10

// rulesOf lists the rules of a message.
func rulesOf(message protoreflect.FullName) []rule {
	switch message {
	case "fleet.v1.Listener":
		return []rule{checkListenerTLS, checkConnectionListener}
	case "fleet.v1.ListenerTLS.ClientAuth":
		return []rule{exactlyOne("ca", "caFile")}
	case "fleet.v1.UpstreamTLS":
		return []rule{atMostOne("ca", "caFile"), checkServerName}
	case "fleet.v1.Route":
		return []rule{exactlyOne("forward", "redirect", "respond"), checkPrefixes, checkForwarding}
	case "fleet.v1.PathMatch":
		return []rule{exactlyOne("exact", "prefix", "regex")}
	case "fleet.v1.HeaderMatch":
		return []rule{atMostOne("exact", "prefix", "regex", "present"), onlyTrue("present")}
	case "fleet.v1.QueryMatch":
		return []rule{atMostOne("exact", "prefix", "regex", "present"), onlyTrue("present"), checkQueryMatch}
	case "fleet.v1.Rewrite":
		return []rule{atMostOne("path", "prefix", "regex")}
	case "fleet.v1.RegexRewrite":
		return []rule{checkSubstitution}
	case "fleet.v1.Redirect":
		return []rule{atMostOne("path", "prefix"), checkRedirect}
	case "fleet.v1.Respond":
		return []rule{checkRespond}
	case "fleet.v1.HeaderChanges":
		return []rule{checkHeaderChanges}
	case "fleet.v1.Upstream":
		return []rule{checkEndpoints}
	case "fleet.v1.VirtualIP":
		return []rule{checkVirtualIP}
	case "fleet.v1.NodeSelector":
		return []rule{checkSelector}
	case "fleet.v1.HealthCheck":
		return []rule{atMostOne("http", "tcp")}
	case "fleet.v1.RateLimit.Key":
		return []rule{exactlyOne("clientIP", "header", "cookie", "route", "all"), onlyTrue("clientIP", "route", "all")}
	case "fleet.v1.Certificate":
		return []rule{checkCertificate}
	case "fleet.v1.RolloutPolicy.Wave":
		return []rule{atMostOne("nodes", "percent")}
	}
	return nil
}

// set counts which of the fields are set, or were meant to be.
func (c *checker) set(ms *messageSchema, m protoreflect.Message, names []string) int {
	n := 0
	for _, name := range names {
		if c.present(ms.byName[name], m) {
			n++
		}
	}
	return n
}

// tooMany tells, at the second of the fields that are set, which they are.
func (c *checker) tooMany(ms *messageSchema, m protoreflect.Message, names []string, expected string) {
	set := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !c.present(ms.byName[name], m) })
	c.tellAt(set[1], strings.Join(set, " and "), expected+" of "+strings.Join(names, ", "), "")
}

func atMostOne(names ...string) rule {
	return func(c *checker, ms *messageSchema, m protoreflect.Message) {
		if c.set(ms, m, names) > 1 {
			c.tooMany(ms, m, names, "at most one")
		}
	}
}

func exactlyOne(names ...string) rule {
	return func(c *checker, ms *messageSchema, m protoreflect.Message) {
		switch n := c.set(ms, m, names); {
		case n == 0:
			c.tell("none of them", "exactly one of "+strings.Join(names, ", "), "")
		case n > 1:
			c.tooMany(ms, m, names, "exactly one")
		}
	}
}

// onlyTrue is for switches whose presence is the choice: "present: false" would
// read as "absent" to one and as nothing to another.
func onlyTrue(names ...string) rule {
	return func(c *checker, ms *messageSchema, m protoreflect.Message) {
		for _, name := range names {
			if f := ms.byName[name]; m.Has(f.desc) && !m.Get(f.desc).Bool() {
				c.tellAt(name, "false", "true, or to be left out", "")
			}
		}
	}
}

// checkListenerTLS: HTTPS has certificates, and nothing else has.
func checkListenerTLS(c *checker, ms *messageSchema, m protoreflect.Message) {
	l := m.Interface().(*fleetv1.Listener)
	if l.Protocol == nil {
		return
	}
	hasTLS := c.present(ms.byName["tls"], m)
	switch https := l.GetProtocol() == fleetv1.Listener_HTTPS; {
	case https && !hasTLS:
		c.tellAt("tls", "nothing", "tls.certificates, which protocol HTTPS needs", "")
	case hasTLS && !https:
		c.tellAt("tls", "TLS with protocol "+l.GetProtocol().String(), "protocol HTTPS", "")
	}
}

// checkServerName: certificates have names without ports.
func checkServerName(c *checker, _ *messageSchema, m protoreflect.Message) {
	u := m.Interface().(*fleetv1.UpstreamTLS)
	if strings.Contains(u.GetServerName(), ":") {
		c.tellAt("serverName", quote(u.GetServerName()), "a host name without a port", "")
	}
}

// checkPrefixes: a route that replaces the matched prefix must match one.
func checkPrefixes(c *checker, _ *messageSchema, m protoreflect.Message) {
	r := m.Interface().(*fleetv1.Route)
	if r.GetMatch().GetPath().GetPrefix() != "" {
		return
	}
	const expected = "match.path.prefix in the same route, whose match it replaces"
	if p := r.GetRewrite(); p != nil && p.Prefix != nil {
		c.push(step{key: "rewrite"})
		c.tellAt("prefix", quote(*p.Prefix), expected, "")
		c.pop()
	}
	if p := r.GetRedirect(); p != nil && p.Prefix != nil {
		c.push(step{key: "redirect"})
		c.tellAt("prefix", quote(*p.Prefix), expected, "")
		c.pop()
	}
}

// checkConnectionListener: what is about requests says nothing to a listener that
// passes connections on.
func checkConnectionListener(c *checker, ms *messageSchema, m protoreflect.Message) {
	l := m.Interface().(*fleetv1.Listener)
	if p := l.GetProtocol(); p != fleetv1.Listener_TCP && p != fleetv1.Listener_TLS_PASSTHROUGH {
		return
	}
	refuse := func(field string, set bool) {
		if set {
			c.tellAt(field, "a field about requests", "to be left out: a "+l.GetProtocol().String()+" listener has none", "")
		}
	}
	refuse("errorFormat", l.ErrorFormat != nil)
	refuse("mergeSlashes", l.MergeSlashes != nil)
	refuse("escapedSlashes", l.EscapedSlashes != nil)
	if limits := l.GetLimits(); limits != nil {
		c.push(step{key: "limits"})
		refuse("header", limits.Header != nil)
		refuse("headerFields", limits.HeaderFields != nil)
		refuse("body", limits.Body != nil)
		if l.GetProtocol() == fleetv1.Listener_TCP && limits.FaultsPerClient != nil {
			c.tellAt("faultsPerClient", fmt.Sprint(*limits.FaultsPerClient), "to be left out: a TCP listener reads nothing by which a client is at fault", "")
		}
		c.pop()
	}
	if timeouts := l.GetTimeouts(); timeouts != nil {
		c.push(step{key: "timeouts"})
		refuse("idle", timeouts.Idle != nil)
		c.pop()
	}
}

// checkForwarding: only a route that forwards can try again or open a tunnel.
func checkForwarding(c *checker, _ *messageSchema, m protoreflect.Message) {
	r := m.Interface().(*fleetv1.Route)
	if slices.Contains(r.GetUpgrades(), upgradeNone) && len(r.GetUpgrades()) > 1 {
		c.tellAt("upgrades", strings.Join(r.GetUpgrades(), ", "), "NONE alone, or protocols", "")
	}
	if len(r.GetForward()) > 0 || r.GetRedirect() == nil && r.GetRespond() == nil {
		return
	}
	if r.GetRetry() != nil {
		c.tellAt("retry", "retry", "forward in the same route: nothing else is tried again", "")
	}
	if t := r.GetTimeouts(); t != nil && t.PerTry != nil {
		c.push(step{key: "timeouts"})
		c.tellAt("perTry", "perTry", "forward in the same route: nothing else is tried again", "")
		c.pop()
	}
	if len(r.GetUpgrades()) > 0 {
		c.tellAt("upgrades", strings.Join(r.GetUpgrades(), ", "), "forward in the same route: nothing else switches protocols", "")
	}
	if r.GetConnect() != nil {
		c.tellAt("connect", "targets", "forward in the same route: a tunnel leads to an endpoint", "")
	}
}

func checkQueryMatch(c *checker, _ *messageSchema, m protoreflect.Message) {
	if q := m.Interface().(*fleetv1.QueryMatch); q != nil && q.Name != nil && *q.Name == "" {
		c.tellAt("name", quote(""), "the name of a query parameter", "")
	}
}

// checkSubstitution: $1 and ${name} must be groups of the pattern.
func checkSubstitution(c *checker, _ *messageSchema, m protoreflect.Message) {
	r := m.Interface().(*fleetv1.RegexRewrite)
	pattern, err := regexp.Compile(r.GetPattern())
	if err != nil || r.Substitution == nil {
		return
	}
	for _, group := range groupsOf(r.GetSubstitution()) {
		n, err := strconv.Atoi(group)
		if err == nil && n <= pattern.NumSubexp() || err != nil && pattern.SubexpIndex(group) >= 0 {
			continue
		}
		c.tellAt("substitution", quote(r.GetSubstitution()), fmt.Sprintf(
			"groups of the pattern, which has %d: $%s is none ($$ is a dollar sign)", pattern.NumSubexp(), group), "")
		return
	}
}

// groupsOf lists the groups that a substitution names, as regexp.Expand reads it.
func groupsOf(substitution string) []string {
	var groups []string
	for {
		_, rest, found := strings.Cut(substitution, "$")
		if !found {
			return groups
		}
		substitution = rest
		if after, isDollar := strings.CutPrefix(rest, "$"); isDollar {
			substitution = after
			continue
		}
		name := rest
		if inner, braced := strings.CutPrefix(rest, "{"); braced {
			name, substitution, _ = strings.Cut(inner, "}")
			groups = append(groups, name)
			continue
		}
		for i := range len(rest) {
			if !isAlnum(rest[i]) && rest[i] != '_' {
				name, substitution = rest[:i], rest[i:]
				break
			}
		}
		groups = append(groups, name)
		if name == rest {
			return groups
		}
	}
}

func checkRedirect(c *checker, ms *messageSchema, m protoreflect.Message) {
	r := m.Interface().(*fleetv1.Redirect)
	if c.set(ms, m, []string{"scheme", "host", "port", "path", "prefix"}) == 0 {
		c.tell("a redirect to the same place", "one of scheme, host, port, path, prefix", "")
	}
	if r.Scheme != nil && *r.Scheme != "http" && *r.Scheme != "https" {
		c.tellAt("scheme", quote(*r.Scheme), "http or https", Nearest(*r.Scheme, []string{"http", "https"}))
	}
	if host, port, cut := cutPort(r.GetHost()); cut && validPort(port) {
		c.tellAt("host", quote(*r.Host), "a host without a port, which is a field of its own", host)
	}
	if r.Status != nil {
		switch *r.Status {
		case 304, 305, 306: // those are no redirects (RFC 9110 section 15.4)
			c.tellAt("status", strconv.Itoa(int(*r.Status)), "301, 302, 303, 307 or 308", "")
		}
	}
}

func checkRespond(c *checker, _ *messageSchema, m protoreflect.Message) {
	r := m.Interface().(*fleetv1.Respond)
	if len(r.GetBody()) > maxBody {
		c.tellAt("body", fmt.Sprintf("%d bytes", len(r.GetBody())), "at most 64KiB", "")
	}
	// Answers with these statuses have no content (RFC 9110 sections 15.3.5,
	// 15.3.6 and 15.4.5): a body would be read as the next answer.
	if s := r.GetStatus(); (s == 204 || s == 205 || s == 304) && r.GetBody() != "" {
		c.tellAt("body", quote(r.GetBody()), fmt.Sprintf("no body with status %d", s), "")
	}
	c.push(step{key: "headers"})
	for _, name := range slices.Sorted(maps.Keys(r.GetHeaders())) {
		if ownField(name) {
			c.tellAt(name, quote(name), ownFieldExpected, "")
		}
	}
	c.pop()
}

const ownFieldExpected = "a field that is not the proxy's own: it frames messages and manages connections itself"

func checkHeaderChanges(c *checker, _ *messageSchema, m protoreflect.Message) {
	h := m.Interface().(*fleetv1.HeaderChanges)
	told := func(name string) (got, expected, suggestion string, bad bool) {
		switch {
		case ownField(name):
			return quote(name), ownFieldExpected, "", true
		case strings.EqualFold(name, "host"):
			return quote(name), "another field: Host decides where a request goes", "spec.rewrite.host", true
		}
		return "", "", "", false
	}
	for _, dict := range []struct {
		key    string
		fields map[string]string
	}{{"set", h.GetSet()}, {"add", h.GetAdd()}} {
		c.push(step{key: dict.key})
		for _, name := range slices.Sorted(maps.Keys(dict.fields)) {
			if got, expected, suggestion, bad := told(name); bad {
				c.tellAt(name, got, expected, suggestion)
			}
		}
		c.pop()
	}
	c.push(step{key: "remove"})
	for i, name := range h.GetRemove() {
		if got, expected, suggestion, bad := told(name); bad {
			c.push(step{index: i})
			c.tell(got, expected, suggestion)
			c.pop()
		}
	}
	c.pop()
}

// checkEndpoints: an endpoint is known by its address, so one stands there once.
func checkEndpoints(c *checker, _ *messageSchema, m protoreflect.Message) {
	endpoints := m.Interface().(*fleetv1.Upstream).GetEndpoints()
	if len(endpoints) < 2 {
		return
	}
	seen := make(map[string]int, len(endpoints))
	c.push(step{key: "endpoints"})
	for i, e := range endpoints {
		if e.GetAddress() == "" {
			continue
		}
		id := strings.ToLower(e.GetAddress())
		if ap, err := netip.ParseAddrPort(id); err == nil {
			id = ap.String()
		}
		first, again := seen[id]
		if !again {
			seen[id] = i
			continue
		}
		c.push(step{index: i})
		c.tellAt("address", quote(e.GetAddress()), fmt.Sprintf("each address once; it is endpoints[%d] too", first), "")
		c.pop()
	}
	c.pop()
}
