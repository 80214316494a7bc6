package feed

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

const (
	// maxUpdateBytes bounds what one Update may make a node hold while its parts
	// arrive: 100,000 routes are some 30 MiB, and a node that has 512 MiB of
	// configuration in flight is being attacked or misused.
	maxUpdateBytes = 512 << 20
	// itemOverhead is what an entry costs beside its bytes.
	itemOverhead = 64
	// maxMessageBytes is the largest message that a node accepts: parts hold up
	// to 1 MiB of resources, a FleetState of 10,000 members some 2 MiB.
	maxMessageBytes = 16 << 20
)

// before says whether a node that runs v may go to next: only forward.
// Something older comes from a replica that lags, or from a store that was put
// back, which then gets a new epoch.
func before(v, next tree.Version) bool {
	switch {
	case v.IsZero() || next == v:
		return true
	case next.Epoch != v.Epoch:
		return next.Epoch > v.Epoch
	}
	return next.Revision > v.Revision
}

// update is a whole Update, its parts put together.
type update struct {
	whole   bool // base is nothing
	base    tree.Hash
	target  tree.Version
	upserts [][]byte
	removed []tree.Key
	// accepted: somebody accepted the target's epoch.
	accepted bool
	bytes    int
	// tooLarge: the parts went over the bound and were thrown away.
	tooLarge bool
}

// errProtocol is a stream that does not keep to the protocol. The link is
// closed: nothing sensible can follow.
var errProtocol = errors.New("protocol violation")

// assembly puts the parts of an Update together.
type assembly struct {
	limit   int
	current *update
	parts   uint32
}

// add takes a part, and gives the update when it was the last.
func (a *assembly) add(part *fleetv1.Update) (*update, error) {
	target, base, err := header(part)
	if err != nil {
		return nil, err
	}
	if part.GetPart() == 0 {
		// A first part begins anew; a server never does so before an answer, but
		// what it left unfinished is worth nothing.
		a.current = &update{whole: len(part.GetBase()) == 0, base: base, target: target, accepted: part.GetEpochAccepted()}
		a.parts = 0
	}
	u := a.current
	switch {
	case u == nil || part.GetPart() != a.parts:
		return nil, fmt.Errorf("%w: update %v: part %d where part %d was due", errProtocol, target, part.GetPart(), a.parts)
	case u.target != target || u.base != base:
		return nil, fmt.Errorf("%w: part %d is of update %v, the parts before of %v", errProtocol, part.GetPart(), target, u.target)
	}
	a.parts++
	u.take(part, a.limit)
	if !part.GetLast() {
		return nil, nil
	}
	a.current = nil
	return u, nil
}

func header(part *fleetv1.Update) (target tree.Version, base tree.Hash, err error) {
	t := part.GetTarget()
	root, err := tree.HashFromBytes(t.GetDigest())
	if err != nil {
		return tree.Version{}, tree.Hash{}, fmt.Errorf("%w: update %d/%d: %w", errProtocol, t.GetEpoch(), t.GetRevision(), err)
	}
	target = tree.Version{Epoch: t.GetEpoch(), Revision: t.GetRevision(), Root: root}
	if len(part.GetBase()) > 0 {
		if base, err = tree.HashFromBytes(part.GetBase()); err != nil {
			return tree.Version{}, tree.Hash{}, fmt.Errorf("%w: update %v: base: %w", errProtocol, target, err)
		}
	}
	return target, base, nil
}

func (u *update) take(part *fleetv1.Update, limit int) {
	if u.tooLarge {
		return
	}
	for _, b := range part.GetUpserts() {
		u.bytes += len(b) + itemOverhead
	}
	for _, k := range part.GetRemoved() {
		u.bytes += len(k.GetKind()) + len(k.GetName()) + itemOverhead
	}
	if u.bytes > limit {
		u.tooLarge, u.upserts, u.removed = true, nil, nil
		return
	}
	u.upserts = append(u.upserts, part.GetUpserts()...)
	for _, k := range part.GetRemoved() {
		u.removed = append(u.removed, tree.Key{Kind: k.GetKind(), Name: k.GetName()})
	}
}

// errBase: the update cannot be applied to what runs here.
var errBase = errors.New("base differs")

// applyTo makes the target's tree from what runs. pause is called between
// resources, so that the processor is not held for long.
func (u *update) applyTo(have tree.Tree, pause func()) (tree.Tree, error) {
	var next tree.Tree
	switch {
	case u.target.Root == have.Root():
		// Only the number differs: the content is here, whatever the base was.
		return have, nil
	case u.whole:
	case u.base == have.Root():
		next = have
	default:
		return tree.Tree{}, fmt.Errorf("%w: the update starts from %s, this node runs %s", errBase, u.base.Short(), have.Root().Short())
	}
	for _, k := range u.removed {
		next = next.Delete(k)
	}
	for _, b := range u.upserts {
		k, err := keyOf(b)
		if err != nil {
			return tree.Tree{}, err
		}
		next = next.Set(k, b)
		pause()
	}
	if next.Root() == u.target.Root {
		return next, nil
	}
	err := fmt.Errorf("the result has root %s, the version %s", next.Root().Short(), u.target.Root.Short())
	if !u.whole {
		err = fmt.Errorf("%w: %w", errBase, err)
	}
	return tree.Tree{}, err
}

// The numbers of Resource.kind and Resource.name.
const (
	kindField = 1
	nameField = 2
)

// keyOf reads kind and name out of canonical bytes and nothing else: compile
// parses the whole, and says in words what it does not know.
func keyOf(canonical []byte) (tree.Key, error) {
	var k tree.Key
	for b := canonical; len(b) > 0; {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return tree.Key{}, fmt.Errorf("resource: %w", protowire.ParseError(n))
		}
		b = b[n:]
		if (number == kindField || number == nameField) && wire == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return tree.Key{}, fmt.Errorf("resource: %w", protowire.ParseError(n))
			}
			if number == kindField {
				k.Kind = string(v)
			} else {
				k.Name = string(v)
			}
			b = b[n:]
			continue
		}
		if k.Kind != "" && k.Name != "" {
			return k, nil // canonical bytes are in the order of field numbers
		}
		if n = protowire.ConsumeFieldValue(number, wire, b); n < 0 {
			return tree.Key{}, fmt.Errorf("resource: %w", protowire.ParseError(n))
		}
		b = b[n:]
	}
	if k.Kind == "" || k.Name == "" {
		return tree.Key{}, errors.New("resource: has no kind or no name")
	}
	return k, nil
}
