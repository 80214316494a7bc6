package table

import (
	"bytes"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// Tunnel is what a route lets pass as it is, once both ends have agreed. Most
// routes share one.
type Tunnel struct {
	// Upgrades are protocols that a client may switch to, in lower case.
	Upgrades []string
	// Connect are the targets of CONNECT requests that are taken.
	Connect []ConnectTarget
	// Idle ends a tunnel in which no byte moves.
	Idle time.Duration
}

// ConnectTarget is a host in normal form, or all below one, with a port.
type ConnectTarget struct {
	Host string
	Wild bool // one or more labels, and then "." and Host
	Port uint16
}

// AllowsUpgrade tells whether a client may switch to a protocol, which may have a
// version behind a "/" (RFC 9110 section 7.8).
func (t *Tunnel) AllowsUpgrade(protocol []byte) bool {
	name, _, _ := bytes.Cut(protocol, []byte("/"))
	for _, allowed := range t.Upgrades {
		if message.EqualFold(name, allowed) {
			return true
		}
	}
	return false
}

// AllowsConnect tells whether a tunnel may be opened for a target; the host is in
// normal form.
func (t *Tunnel) AllowsConnect(host []byte, port uint16) bool {
	for i := range t.Connect {
		c := &t.Connect[i]
		if c.Port != port {
			continue
		}
		rest := len(host) - len(c.Host)
		if !c.Wild && string(host) == c.Host ||
			c.Wild && rest > 1 && string(host[rest:]) == c.Host && host[rest-1] == '.' {
			return true
		}
	}
	return false
}
