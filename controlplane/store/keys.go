package store

import (
	"fmt"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// DefaultPrefix is where the store's keys are unless Options say otherwise.
const DefaultPrefix = "/proxyfleet/v1/"

// keys makes the names of keys.
type keys struct {
	prefix string
}

func (k keys) head() string  { return k.prefix + "head" }
func (k keys) epoch() string { return k.prefix + "epoch" }
func (k keys) sweep() string { return k.prefix + "sweep" }
func (k keys) fleet() string { return k.prefix + "fleet" }
func (k keys) seal() string  { return k.prefix + "seal" }

func (k keys) tickets() string { return k.prefix + "tickets" }
func (k keys) list() string    { return k.prefix + "list" }

// replicas is what control planes tell each other, each below a name of its own.
func (k keys) replicas() string { return k.prefix + "replicas/" }

func (k keys) changes() string { return k.prefix + "changes/" }

// change has as many digits as the largest revision, so that keys sort as
// revisions do.
func (k keys) change(revision uint64) string {
	return fmt.Sprintf("%s%020d", k.changes(), revision)
}

func (k keys) blobs() string            { return k.prefix + "blobs/" }
func (k keys) blob(h tree.Hash) string  { return k.blobs() + h.String() }
func (k keys) nodes() string            { return k.prefix + "nodes/" }
func (k keys) node(id string) string    { return k.nodes() + id }
func (k keys) nodeID(key []byte) string { return strings.TrimPrefix(string(key), k.nodes()) }
func (k keys) blobHash(key []byte) (tree.Hash, error) {
	return tree.ParseHash(strings.TrimPrefix(string(key), k.blobs()))
}
