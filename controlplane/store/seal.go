package store

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// ErrSealKey says that the store is sealed under another key than the one given,
// or that there is none.
var ErrSealKey = errors.New("another seal key")

// What sealed bytes are about, so that they are good in their place only.
const (
	aboutBlob    = "proxyfleet blob\x00" // and its hash
	aboutTickets = "proxyfleet session ticket keys"
)

// SealedUnder is the id of the key that the store is sealed under; "" if nothing
// was sealed in it yet. It needs no Store, so that a key can be found or made
// before one is opened.
func SealedUnder(ctx context.Context, client *clientv3.Client, prefix string) (string, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	record, err := sealRecord(ctx, client.KV, keys{prefix: prefix})
	if err != nil {
		return "", fmt.Errorf("store: seal: %w", err)
	}
	return record.GetKeyId(), nil
}

func sealRecord(ctx context.Context, from kv, k keys) (*fleetv1.SealRecord, error) {
	r, err := from.Get(ctx, k.seal())
	if err != nil {
		return nil, err
	}
	record := &fleetv1.SealRecord{}
	if len(r.Kvs) == 1 {
		if err := proto.Unmarshal(r.Kvs[0].Value, record); err != nil {
			return nil, fmt.Errorf("%w: seal record: %w", ErrDamaged, err)
		}
	}
	return record, nil
}

// claimSeal makes the key that was given the store's, or finds that it is.
func (s *Store) claimSeal(ctx context.Context) error {
	if s.options.Seal == nil {
		return nil
	}
	id := s.options.Seal.ID()
	// Read first: an etcd that is full refuses what could write, and a control plane
	// that does not start makes no room in it.
	record, err := sealRecord(ctx, s.kv, s.keys)
	if err == nil && record.GetKeyId() == "" {
		record, err = s.seal(ctx, id)
	}
	switch {
	case err != nil:
		return fmt.Errorf("seal: %w", err)
	case record.GetKeyId() != id:
		return fmt.Errorf("%w: the store is sealed under key %s, and the one given is %s: give the key that this store was made with", ErrSealKey, record.GetKeyId(), id)
	}
	return nil
}

// seal makes the key of that id the store's, unless another replica was faster. It
// returns the record that is there then.
func (s *Store) seal(ctx context.Context, id string) (*fleetv1.SealRecord, error) {
	record := &fleetv1.SealRecord{KeyId: id}
	value, err := marshal(record)
	if err != nil {
		return nil, err
	}
	key := s.keys.seal()
	r, err := s.kv.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value)).
		Commit()
	switch {
	case err != nil:
		return nil, err
	case !r.Succeeded:
		return sealRecord(ctx, s.kv, s.keys)
	}
	s.log.Info("store: secrets are sealed under this key from now on", "seal_key", id)
	return record, nil
}

// secretsAmong are the hashes of the resources of next that base has not and that
// are to be sealed.
func secretsAmong(base, next tree.Tree) map[tree.Hash]struct{} {
	var secrets map[tree.Hash]struct{}
	upserts, _ := tree.Diff(base, next)
	for _, leaf := range upserts {
		if !resource.Secret(leaf.Key.Kind) {
			continue
		}
		if secrets == nil {
			secrets = map[tree.Hash]struct{}{}
		}
		secrets[leaf.Hash] = struct{}{}
	}
	return secrets
}

// envelope is a blob's value.
func (s *Store) envelope(h tree.Hash, plain []byte, secret bool) (*fleetv1.Envelope, error) {
	e := &fleetv1.Envelope{WrittenAtUnixMs: s.options.Now().UnixMilli()}
	if !secret {
		e.Plain = plain
		return e, nil
	}
	k := s.options.Seal
	if k == nil {
		return nil, fmt.Errorf("%w: none was given, and a certificate is not kept unsealed", ErrSealKey)
	}
	e.Sealed, e.KeyId = k.Seal(plain, blobPlace(h)), k.ID()
	return e, nil
}

// open is the plain content of a blob's envelope.
func (s *Store) open(h tree.Hash, e *fleetv1.Envelope) ([]byte, error) {
	if len(e.GetSealed()) == 0 {
		return e.GetPlain(), nil
	}
	plain, err := s.unseal(e, blobPlace(h))
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", h, err)
	}
	return plain, nil
}

func blobPlace(h tree.Hash) []byte { return append([]byte(aboutBlob), h[:]...) }

func (s *Store) unseal(e *fleetv1.Envelope, about []byte) ([]byte, error) {
	k := s.options.Seal
	switch {
	case k == nil:
		return nil, fmt.Errorf("%w: sealed under %s, and none was given", ErrSealKey, e.GetKeyId())
	case e.GetKeyId() != k.ID():
		return nil, fmt.Errorf("%w: sealed under %s, and the one given is %s", ErrSealKey, e.GetKeyId(), k.ID())
	}
	plain, err := k.Open(e.GetSealed(), about)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return plain, nil
}
