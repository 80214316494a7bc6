package compile

import (
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// referrers lists who refers to k, sorted: those that would dangle without it.
func referrers(r *Result, k tree.Key) []tree.Key {
	var set nameSet
	if k.Kind == resource.Certificate {
		set, _ = r.byCertificate.Get(k.Name)
		return keysOf(set)
	}
	switch k.Kind {
	case resource.Upstream:
		set, _ = r.byUpstream.Get(k.Name)
	case resource.Listener:
		set, _ = r.byListener.Get(k.Name)
	case resource.VirtualIP:
		return listenersOn(r, k.Name)
	}
	keys := make([]tree.Key, 0, set.Len())
	for name := range set.All() {
		keys = append(keys, tree.Key{Kind: resource.Route, Name: name})
	}
	slices.SortFunc(keys, tree.Key.Compare)
	return keys
}

// keysOf are the users of a certificate.
func keysOf(users nameSet) []tree.Key {
	keys := make([]tree.Key, 0, users.Len())
	for user := range users.All() {
		kind, name, _ := strings.Cut(user, "/")
		keys = append(keys, tree.Key{Kind: kind, Name: name})
	}
	slices.SortFunc(keys, tree.Key.Compare)
	return keys
}

// listenersOn are the listeners that name a virtual IP.
func listenersOn(r *Result, vip string) (keys []tree.Key) {
	for i := range r.Table.Listeners {
		l := &r.Table.Listeners[i]
		named := func(a table.Address) bool { return a.Kind == table.AddressVIP && a.VIP == vip }
		if !l.EveryAddress && slices.ContainsFunc(l.Addresses, named) {
			keys = append(keys, tree.Key{Kind: resource.Listener, Name: l.Name})
		}
	}
	return keys
}
