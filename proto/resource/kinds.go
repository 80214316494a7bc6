package resource

import (
	"github.com/proxyfleet/proxyfleet/proto/tree"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// The kinds of resources.
const (
	Listener      = "Listener"
	Route         = "Route"
	Policy        = "Policy"
	Upstream      = "Upstream"
	RateLimit     = "RateLimit"
	VirtualIP     = "VirtualIP"
	Certificate   = "Certificate"
	RolloutPolicy = "RolloutPolicy"
	Node          = "Node"
)

// SchemaLevel is the level of the schema that this build can run. A field, an
// enum value or a kind exists for this build if its `since` option is at least 1
// and at most SchemaLevel; every other one is refused as not supported yet.
const SchemaLevel = 1

// MaxSize bounds the canonical bytes of one resource. A store writes a resource
// as one value, and 256 KiB keeps a batch of them under etcd's request limit.
const MaxSize = 256 << 10

// Key names a resource: kind and name.
type Key = tree.Key

// KindInfo says what a kind is called and where it is kept.
type KindInfo struct {
	Kind   string // "Route"
	Plural string // "routes", as in REST paths
	// Configuration is true for what the configuration tree holds. A Node is fleet
	// state: shown and edited like a resource, kept beside the tree.
	Configuration bool
}

// Kinds lists all kinds, in the order in which people read them.
func Kinds() []KindInfo {
	return []KindInfo{
		{Listener, "listeners", true},
		{Route, "routes", true},
		{Policy, "policies", true},
		{Upstream, "upstreams", true},
		{RateLimit, "ratelimits", true},
		{VirtualIP, "virtualips", true},
		{Certificate, "certificates", true},
		{RolloutPolicy, "rolloutpolicies", true},
		{Node, "nodes", false},
	}
}

// KindByPlural finds the kind of a REST path element ("routes").
func KindByPlural(plural string) (kind string, ok bool) {
	for _, k := range Kinds() {
		if k.Plural == plural {
			return k.Kind, true
		}
	}
	return "", false
}

// KeyOf is the key of a resource.
func KeyOf(r *fleetv1.Resource) Key {
	return Key{Kind: r.GetKind(), Name: r.GetName()}
}
