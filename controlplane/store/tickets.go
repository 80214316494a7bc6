package store

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// TicketKeys returns the session-ticket keys, and what PutTicketKeys must see to
// replace them; nil and 0 if there are none.
func (s *Store) TicketKeys(ctx context.Context) (record *fleetv1.TicketKeyRecord, seen int64, err error) {
	r, err := s.kv.Get(ctx, s.keys.tickets())
	if err != nil {
		return nil, 0, fmt.Errorf("store: ticket keys: %w", err)
	}
	if len(r.Kvs) == 0 {
		return nil, 0, nil
	}
	seen = r.Kvs[0].ModRevision
	e := &fleetv1.Envelope{}
	if err := proto.Unmarshal(r.Kvs[0].Value, e); err != nil {
		return nil, seen, fmt.Errorf("store: ticket keys: %w: %w", ErrDamaged, err)
	}
	if len(e.GetSealed()) == 0 {
		return nil, seen, fmt.Errorf("store: ticket keys: %w: they are not sealed", ErrDamaged)
	}
	plain, err := s.unseal(e, []byte(aboutTickets))
	if err != nil {
		return nil, seen, fmt.Errorf("store: ticket keys: %w", err)
	}
	record = &fleetv1.TicketKeyRecord{}
	if err := proto.Unmarshal(plain, record); err != nil {
		return nil, seen, fmt.Errorf("store: ticket keys: %w: %w", ErrDamaged, err)
	}
	return record, seen, nil
}

// PutTicketKeys seals and writes the record, if the one there is still the one
// that was seen; ErrConflict says that it is not.
func (s *Store) PutTicketKeys(ctx context.Context, record *fleetv1.TicketKeyRecord, seen int64) error {
	if s.options.Seal == nil {
		return fmt.Errorf("store: ticket keys: %w: none was given", ErrSealKey)
	}
	plain, err := proto.Marshal(record)
	if err != nil {
		return errors.New("store: ticket keys: they cannot be encoded") // the cause might quote them
	}
	value, err := marshal(&fleetv1.Envelope{
		Sealed: s.options.Seal.Seal(plain, []byte(aboutTickets)), KeyId: s.options.Seal.ID(), WrittenAtUnixMs: s.options.Now().UnixMilli(),
	})
	if err != nil {
		return fmt.Errorf("store: ticket keys: %w", err)
	}
	key := s.keys.tickets()
	r, err := s.kv.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", seen)).
		Then(clientv3.OpPut(key, value)).
		Commit()
	if err != nil {
		return fmt.Errorf("store: ticket keys: %w", err)
	}
	if !r.Succeeded {
		return fmt.Errorf("store: ticket keys: %w", ErrConflict)
	}
	return nil
}

// WatchTicketKeys is Watch for the session-ticket keys.
func (s *Store) WatchTicketKeys(ctx context.Context) <-chan struct{} {
	return s.watch(ctx, s.keys.tickets())
}
