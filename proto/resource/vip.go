package resource

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// checkVirtualIP: the address must come to the holder in a way that exists. The
// default is to be NETLINK.
func checkVirtualIP(c *checker, ms *messageSchema, m protoreflect.Message) {
	v := m.Interface().(*fleetv1.VirtualIP)
	c.names("preference", v.GetPreference())
	c.push(step{key: "announce"})
	defer c.pop()
	if !c.present(ms.byName["announce"], m) {
		c.notSupported("NETLINK, the default")
	}
	for i := range c.unsupported {
		if p := &c.unsupported[i]; p.Field == c.path.String() {
			p.Suggestion = fleetv1.VirtualIP_BIND.String()
		}
	}
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
