package clienthello

const (
	randomSize      = 32
	maxSessionID    = 32
	extensionName   = 0  // server_name, RFC 6066 section 3
	extensionALPN   = 16 // RFC 7301 section 3.1
	extensionKnown  = 2  // how many may not come twice
	extensionGroups = 10 // supported_groups, RFC 8446 section 4.2.7
	extensionShares = 51 // key_share, RFC 8446 section 4.2.8
	nameTypeHost    = 0
	maxName         = 253 // of DNS in text form
)

// cursor reads vectors of TLS (RFC 8446 section 3.4) off the front of bytes.
type cursor []byte

// skip drops n bytes.
func (c *cursor) skip(n int) bool {
	if len(*c) < n {
		return false
	}
	*c = (*c)[n:]
	return true
}

func (c *cursor) uint16() (v int, ok bool) {
	if len(*c) < 2 {
		return 0, false
	}
	v = int((*c)[0])<<8 | int((*c)[1])
	*c = (*c)[2:]
	return v, true
}

// vector8 and vector16 cut a vector with a length of one and of two bytes.
func (c *cursor) vector8() (v cursor, ok bool) {
	if len(*c) < 1 {
		return nil, false
	}
	n := int((*c)[0])
	*c = (*c)[1:]
	return c.cut(n)
}

func (c *cursor) vector16() (v cursor, ok bool) {
	n, ok := c.uint16()
	if !ok {
		return nil, false
	}
	return c.cut(n)
}

func (c *cursor) cut(n int) (v cursor, ok bool) {
	if len(*c) < n {
		return nil, false
	}
	v, *c = (*c)[:n:n], (*c)[n:]
	return v, true
}

// parse reads a whole message (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2).
func parse(message []byte) Result {
	c := cursor(message[messageHead:])
	version, ok := c.uint16()
	if !ok || version < 0x0300 || !c.skip(randomSize) {
		return failed(Malformed)
	}
	session, ok := c.vector8()
	if !ok || len(session) > maxSessionID {
		return failed(Malformed)
	}
	suites, ok := c.vector16()
	if !ok || len(suites) == 0 || len(suites)%2 != 0 {
		return failed(Malformed)
	}
	compressions, ok := c.vector8()
	if !ok || len(compressions) == 0 {
		return failed(Malformed)
	}
	if len(c) == 0 { // a client of before extensions
		return Result{Status: Done}
	}
	extensions, ok := c.vector16()
	if !ok || len(c) != 0 {
		return failed(Malformed)
	}
	return parseExtensions(extensions)
}

func parseExtensions(c cursor) Result {
	done := Result{Status: Done}
	var seen extensionSet
	for len(c) > 0 {
		kind, ok := c.uint16()
		if !ok {
			return failed(Malformed)
		}
		data, ok := c.vector16()
		if !ok {
			return failed(Malformed)
		}
		if !seen.add(kind) {
			return failed(RepeatedExtension)
		}
		var reason Reason
		switch kind {
		case extensionName:
			done.Hello.ServerName, reason = parseName(data)
		case extensionALPN:
			done.Hello.protocols, reason = parseProtocols(data)
		case extensionGroups:
			done.Hello.groups = parseGroups(data)
		case extensionShares:
			done.Hello.shares = parseShares(data)
		}
		if reason != NoReason {
			return failed(reason)
		}
	}
	return done
}

// parseGroups checks a list of groups; nil: it is malformed.
func parseGroups(data cursor) []byte {
	list, ok := data.vector16()
	if !ok || len(data) != 0 || len(list)%2 != 0 {
		return nil
	}
	return list
}

// parseShares checks a list of key shares, each a group and a vector; nil: it is malformed.
func parseShares(data cursor) []byte {
	list, ok := data.vector16()
	if !ok || len(data) != 0 {
		return nil
	}
	for c := list; len(c) > 0; {
		if !c.skip(2) {
			return nil
		}
		if _, ok := c.vector16(); !ok {
			return nil
		}
	}
	return list
}

// extensionSet tells whether an extension that is read here came before (RFC 8446
// section 4.2: there must not be two of one type).
type extensionSet [extensionKnown]bool

func (s *extensionSet) add(kind int) (fresh bool) {
	var i int
	switch kind {
	case extensionName:
		i = 0
	case extensionALPN:
		i = 1
	default:
		return true
	}
	fresh = !s[i]
	s[i] = true
	return fresh
}

// parseName reads a list of names: exactly one, and a host's. RFC 6066 section 3
// has a list, and forbids two of a type, and there is but one type.
func parseName(c cursor) ([]byte, Reason) {
	list, ok := c.vector16()
	if !ok || len(c) != 0 || len(list) == 0 {
		return nil, Malformed
	}
	kind := list[0]
	list = list[1:]
	name, ok := list.vector16()
	if !ok || len(list) != 0 || kind != nameTypeHost || !validName(name) {
		return nil, BadName
	}
	return name, NoReason
}

// validName takes what a host name may hold, and so no other way to write the
// same name but upper case: no trailing dot (RFC 6066 section 3), no empty label.
func validName(name []byte) bool {
	if len(name) == 0 || len(name) > maxName {
		return false
	}
	label := 0
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			label++
		case c == '.' && label > 0:
			label = 0
		default:
			return false
		}
	}
	return label > 0
}

func parseProtocols(c cursor) ([]byte, Reason) {
	list, ok := c.vector16()
	if !ok || len(c) != 0 || len(list) == 0 {
		return nil, Malformed
	}
	for rest := list; len(rest) > 0; {
		protocol, ok := rest.vector8()
		if !ok || len(protocol) == 0 {
			return nil, Malformed
		}
	}
	return list, NoReason
}
