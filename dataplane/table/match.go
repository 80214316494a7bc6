package table

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// fits reports whether path, in normal form, is one that p takes.
func (p *PathMatch) fits(path []byte) bool {
	switch p.Kind {
	case PathExact:
		return string(path) == p.Text
	case PathPrefix:
		return prefixFits(path, p.Text)
	case PathRegex:
		return p.Regex.Match(path)
	}
	return true
}

// prefixFits matches at segment borders; see the package's documentation.
func prefixFits(path []byte, prefix string) bool {
	n := len(prefix)
	if prefix == "/" {
		return true
	}
	if len(path) < n || string(path[:n]) != prefix {
		return false
	}
	return len(path) == n || path[n] == '/' || prefix[n-1] == '/'
}

// fits reports which clause q does not fit, ClauseNone if it fits all, and for a
// list which element of it.
func (c *Conditions) fits(q *Query) (failed Clause, at int) {
	if !c.methodFits(q) {
		return ClauseMethod, 0
	}
	for i := range c.Headers {
		if !c.Headers[i].headerFits(q) {
			return ClauseHeader, i
		}
	}
	for i := range c.Query {
		if !c.Query[i].queryFits(q) {
			return ClauseQuery, i
		}
	}
	if len(c.Clients) > 0 {
		client := q.Client.Unmap()
		if !slices.ContainsFunc(c.Clients, func(p netip.Prefix) bool { return p.Contains(client) }) {
			return ClauseClient, 0
		}
	}
	return ClauseNone, 0
}

// hasMethods reports whether c asks for methods at all.
func (c *Conditions) hasMethods() bool { return c != nil && (c.Methods != 0 || len(c.Others) > 0) }

func (c *Conditions) methodFits(q *Query) bool {
	if !c.hasMethods() {
		return true
	}
	if q.Method != message.MethodOther {
		return c.Methods&(1<<q.Method) != 0
	}
	for _, m := range c.Others {
		if string(q.MethodName) == m {
			return true
		}
	}
	return false
}

// hearsay says that an untrusted peer's fields of the name do not go up, or an endpoint may take
// them for such: then no route is chosen by them either.
func (m *ValueMatch) hearsay() bool {
	if m.ID != message.Unnumbered {
		return m.ID.Hearsay()
	}
	return message.Forwarded(m.Name) || strings.IndexByte(m.Name, '_') >= 0 && message.LookupDashed(m.Name).Hearsay()
}

// headerFits looks at every line of the name: any that fits will do.
func (m *ValueMatch) headerFits(q *Query) bool {
	h := q.Head
	if h == nil || q.Untrusted && m.hearsay() {
		return m.Invert
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID != m.ID || (m.ID == 0 && !message.EqualFold(h.Bytes(f.Name), m.Name)) {
			continue
		}
		if m.valueFits(h.Bytes(f.Value)) {
			return !m.Invert
		}
	}
	return m.Invert
}

func (m *ValueMatch) valueFits(value []byte) bool {
	switch m.Kind {
	case TextExact:
		return string(value) == m.Text
	case TextPrefix:
		return len(value) >= len(m.Text) && string(value[:len(m.Text)]) == m.Text
	case TextRegex:
		return m.Regex.Match(value)
	}
	return true
}

// queryFits looks at every pair of the query: any whose decoded name is m's and
// whose decoded value fits will do. Pairs are separated by "&" alone.
func (m *ValueMatch) queryFits(q *Query) bool {
	rest := q.RawQuery
	for len(rest) > 0 {
		var pair []byte
		pair, rest = cutByte(rest, '&')
		if len(pair) == 0 {
			continue
		}
		name, value := cutByte(pair, '=')
		if !m.nameFits(q, name) {
			continue
		}
		if m.valueFits(q.decode(value)) {
			return !m.Invert
		}
	}
	return m.Invert
}

func (m *ValueMatch) nameFits(q *Query, raw []byte) bool {
	if len(raw) < len(m.Name) {
		return false // decoding never makes longer
	}
	return string(q.decode(raw)) == m.Name
}

// decode resolves "+" and %-escapes as forms do. A "%" without two hexadecimal
// digits stands for itself. The result is raw, or dies at the next call.
func (q *Query) decode(raw []byte) []byte {
	if bytes.IndexByte(raw, '%') < 0 && bytes.IndexByte(raw, '+') < 0 {
		return raw
	}
	out := q.scratch[:0]
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(raw) && isHex(raw[i+1]) && isHex(raw[i+2]):
			c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			i += 2
		}
		out = append(out, c)
	}
	q.scratch = out
	return out
}

// cutByte is bytes.Cut for one byte, without the third result.
func cutByte(b []byte, sep byte) (before, after []byte) {
	if i := bytes.IndexByte(b, sep); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

func isHex(c byte) bool {
	return c-'0' < 10 || c|0x20-'a' < 6
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// Drops reports whether a field of the given name and id must be left out of the
// head: it is removed, or set anew. The name may have any case.
func (o *HeaderOps) Drops(name []byte, id message.FieldID) bool {
	if o == nil {
		return false
	}
	for i := range o.Remove {
		if o.Remove[i].ID == id && (id != 0 || message.EqualFoldBytes(name, o.Remove[i].Name)) {
			return true
		}
	}
	for i := range o.Set {
		if o.Set[i].ID == id && (id != 0 || message.EqualFoldBytes(name, o.Set[i].Name)) {
			return true
		}
	}
	return false
}

// Writes says that a field of that number is set or added.
func (o *HeaderOps) Writes(id message.FieldID) bool {
	if o == nil {
		return false
	}
	for i := range o.Set {
		if o.Set[i].ID == id {
			return true
		}
	}
	return o.Adds(id)
}

// Adds reports whether fields with the given id, which is not 0, come beside those of a head.
func (o *HeaderOps) Adds(id message.FieldID) bool {
	if o == nil {
		return false
	}
	for i := range o.Add {
		if o.Add[i].ID == id {
			return true
		}
	}
	return false
}
