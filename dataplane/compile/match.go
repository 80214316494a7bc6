package compile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// conditions are what a route asks for besides host and path, in normal form:
// sorted, without repeats. nil if there are none.
func (m *routeMaker) conditions(d *fleetv1.Match) *table.Conditions {
	if len(d.GetMethods())+len(d.GetHeaders())+len(d.GetQuery())+len(d.GetClientCidrs()) == 0 {
		return nil
	}
	c := &table.Conditions{}
	for _, name := range d.GetMethods() {
		if method := message.LookupMethod([]byte(name)); method != message.MethodOther {
			c.Methods |= 1 << method
		} else {
			c.Others = append(c.Others, name)
		}
	}
	slices.Sort(c.Others)
	c.Others = slices.Compact(c.Others)
	for i, h := range d.GetHeaders() {
		name := strings.ToLower(h.GetName())
		v := m.value("headers", i, h.Exact, h.Prefix, h.Regex)
		v.Name, v.ID, v.Invert = name, message.LookupField([]byte(name)), h.GetInvert()
		c.Headers = append(c.Headers, v)
	}
	for i, q := range d.GetQuery() {
		v := m.value("query", i, q.Exact, q.Prefix, q.Regex)
		v.Name, v.Invert = q.GetName(), q.GetInvert()
		c.Query = append(c.Query, v)
	}
	c.Headers, c.Query = sortedValues(c.Headers), sortedValues(c.Query)
	for i, s := range d.GetClientCidrs() {
		prefix, err := parsePrefix(s)
		if err != nil {
			m.problem(fmt.Sprintf("spec.match.clientCIDRs[%d]", i), quote(s), "an address or a prefix")
			continue
		}
		c.Clients = append(c.Clients, prefix)
	}
	slices.SortFunc(c.Clients, comparePrefix)
	c.Clients = slices.Compact(c.Clients)
	return c
}

// value is what header and query matches have in common: at most one is set.
func (m *routeMaker) value(list string, i int, exact, prefix, regex *string) table.ValueMatch {
	switch {
	case exact != nil:
		return table.ValueMatch{Kind: table.TextExact, Text: *exact}
	case prefix != nil:
		return table.ValueMatch{Kind: table.TextPrefix, Text: *prefix}
	case regex != nil:
		compiled := m.whole(*regex, func() string { return fmt.Sprintf("spec.match.%s[%d].regex", list, i) })
		return table.ValueMatch{Kind: table.TextRegex, Text: *regex, Regex: compiled}
	}
	return table.ValueMatch{Kind: table.TextPresent}
}

func sortedValues(list []table.ValueMatch) []table.ValueMatch {
	slices.SortFunc(list, compareValues)
	return slices.CompactFunc(list, func(a, b table.ValueMatch) bool { return compareValues(a, b) == 0 })
}

func compareValues(a, b table.ValueMatch) int {
	invert := func(v table.ValueMatch) int {
		if v.Invert {
			return 1
		}
		return 0
	}
	return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind),
		strings.Compare(a.Text, b.Text), cmp.Compare(invert(a), invert(b)))
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// headerOps prepares changes of a head; nil if there are none. Names that frame
// messages or belong to a connection were refused by resource.Check. Routes that
// ask for the same changes share them: a request for a cold route then finds them
// in the cache, where another route's requests have brought them.
func (c *compiler) headerOps(d *fleetv1.HeaderChanges) *table.HeaderOps {
	if len(d.GetSet())+len(d.GetAdd())+len(d.GetRemove()) == 0 {
		return nil
	}
	ops := &table.HeaderOps{Set: headerFields(d.GetSet()), Add: headerFields(d.GetAdd())}
	for _, name := range d.GetRemove() {
		lower := []byte(strings.ToLower(name))
		ops.Remove = append(ops.Remove, table.HeaderName{Name: lower, ID: message.LookupField(lower)})
	}
	c.raw = appendOps(c.raw[:0], ops)
	if same := c.headers[string(c.raw)]; same != nil {
		return same
	}
	if c.headers == nil {
		c.headers = make(map[string]*table.HeaderOps)
	}
	c.headers[string(c.raw)] = ops
	return ops
}

// appendOps writes changes so that equal ones, and no others, are written equally.
// No name or value holds a zero byte.
func appendOps(dst []byte, o *table.HeaderOps) []byte {
	text := func(s []byte) { dst = append(append(dst, s...), 0) }
	for i := range o.Remove {
		text(o.Remove[i].Name)
	}
	for _, fields := range [][]table.HeaderField{o.Set, o.Add} {
		text(nil)
		for i := range fields {
			text(fields[i].Name)
			text(fields[i].Value)
		}
	}
	return dst
}

// headerFields are the fields of a map, by name.
func headerFields(fields map[string]string) []table.HeaderField {
	if len(fields) == 0 {
		return nil
	}
	out := make([]table.HeaderField, 0, len(fields))
	for name, value := range fields {
		lower := []byte(strings.ToLower(name))
		out = append(out, table.HeaderField{Name: lower, Value: []byte(value), ID: message.LookupField(lower)})
	}
	slices.SortFunc(out, func(a, b table.HeaderField) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out
}

func respond(d *fleetv1.Respond) *table.Respond {
	return &table.Respond{
		Status: uint16(d.GetStatus()),
		Body:   []byte(d.GetBody()),
		Fields: headerFields(d.GetHeaders()),
	}
}
