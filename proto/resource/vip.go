package resource

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// checkVirtualIP: the address must come to the holder in a way that exists.
func checkVirtualIP(c *checker, ms *messageSchema, m protoreflect.Message) {
	v := m.Interface().(*fleetv1.VirtualIP)
	// The default is to be NETLINK, which has no behaviour yet.
	if !c.present(ms.byName["announce"], m) {
		c.tellAt("announce", "nothing, which is NETLINK and not supported yet", "announce: BIND", "BIND")
	}
	c.names("preference", v.GetPreference())
}

func checkSelector(c *checker, _ *messageSchema, m protoreflect.Message) {
	c.names("names", m.Interface().(*fleetv1.NodeSelector).GetNames())
}

// names checks a list of node ids: each can be one, and stands there once.
func (c *checker) names(field string, ids []string) {
	c.push(step{key: field})
	defer c.pop()
	seen := make(map[string]bool, len(ids))
	for i, id := range ids {
		c.push(step{index: i})
		if bad := checkName(id); bad != nil {
			c.tell(quote(id), bad.expected, bad.suggestion)
		} else if seen[id] {
			c.tell(quote(id), "each node once", "")
		}
		seen[id] = true
		c.pop()
	}
}
