package tickets

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// Life is for how long tickets are issued under one key.
	Life = 12 * time.Hour
	// KeyBytes is the size of a key: crypto/tls derives from it what it needs.
	KeyBytes = 32
	// kept are the current key, the next one and the one before.
	kept = 3
	// retry is the pause after the store could not be read or written.
	retry = time.Second
	// grace is by how much longer a replica waits with a record of the future: whoever
	// wrote it is to rotate.
	grace = time.Minute
)

// Store keeps the record. *store.Store is one.
type Store interface {
	// TicketKeys is the record, nil if there is none, and what PutTicketKeys must
	// see to replace it. store.ErrDamaged: it cannot be read.
	TicketKeys(ctx context.Context) (record *fleetv1.TicketKeyRecord, seen int64, err error)
	// PutTicketKeys replaces what was seen; store.ErrConflict: it changed since.
	PutTicketKeys(ctx context.Context, record *fleetv1.TicketKeyRecord, seen int64) error
	// WatchTicketKeys says "look again", coalesced, until ctx ends.
	WatchTicketKeys(ctx context.Context) <-chan struct{}
}

// Config has what a Rotator works with. Store and Publish are required.
type Config struct {
	Store Store
	// Publish is given the keys, first and whenever there are others. They must not
	// be changed. It is called by one goroutine, and must not block.
	Publish func(*fleetv1.TicketKeys)
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: slog.Default()
}

// Rotator keeps the keys of a fleet young.
type Rotator struct {
	c         Config
	published uint64 // owned by Run: the revision that was published last
	// owned by Run: the revision that was read last, and since when
	read  uint64
	since time.Time
}

// New starts nothing.
func New(c Config) *Rotator {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Rotator{c: c}
}

// Run rotates and publishes until ctx ends.
func (r *Rotator) Run(ctx context.Context) error {
	events := r.c.Store.WatchTicketKeys(ctx)
	for {
		wait, err := r.look(ctx)
		if err != nil && ctx.Err() == nil {
			r.c.Logger.Warn("ticket keys: not read or written", "error", err, "retry_in", retry)
			wait = retry
		}
		again := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			again.Stop()
			return nil
		case _, ok := <-events:
			if !ok {
				events = nil // ctx has ended
			}
		case <-again.C:
		}
		again.Stop()
	}
}

// look reads the record, rotates if that is due, and publishes. It says after what
// time to look again.
func (r *Rotator) look(ctx context.Context) (time.Duration, error) {
	record, seen, err := r.c.Store.TicketKeys(ctx)
	if errors.Is(err, store.ErrDamaged) {
		r.c.Logger.Error("ticket keys: they cannot be read, and new ones are made; clients shake hands in full once", "error", err)
		record, err = nil, nil
	}
	if err != nil {
		return 0, err
	}
	now := r.c.Now()
	if r.since.IsZero() || record.GetRevision() != r.read {
		r.read, r.since = record.GetRevision(), now
	}
	next, age := step(record, now, now.Sub(r.since))
	if next != nil {
		err := r.c.Store.PutTicketKeys(ctx, next, seen)
		if errors.Is(err, store.ErrConflict) {
			return 0, nil // another replica was faster
		}
		if err != nil {
			return 0, err
		}
		r.c.Logger.Info("ticket keys: rotated", "revision", next.GetRevision(), "keys", len(next.GetKeys()))
		record = next
	}
	if record.GetRevision() != r.published {
		r.c.Publish(&fleetv1.TicketKeys{Revision: record.GetRevision(), Keys: record.GetKeys()})
		r.published = record.GetRevision()
	}
	return Life - age, nil
}

// step makes the record that follows, if that is due, and says how old the one is that
// is in force then. known is for how long this replica has known the record, by which a
// record of the future ages: replacing it at once would make two replicas, one of whose
// clocks is wrong, take turns without end.
func step(record *fleetv1.TicketKeyRecord, now time.Time, known time.Duration) (next *fleetv1.TicketKeyRecord, age time.Duration) {
	// At least the time, so that the number does not go back when the store is
	// wiped.
	revision := max(record.GetRevision()+1, uint64(max(now.UnixMilli(), 1)))
	next = &fleetv1.TicketKeyRecord{Revision: revision, RotatedAtUnixMs: now.UnixMilli()}
	if valid(record) != nil {
		next.Keys = [][]byte{newKey(), newKey()}
		return next, 0
	}
	if age = now.Sub(time.UnixMilli(record.GetRotatedAtUnixMs())); age < 0 {
		age = known - grace
	}
	if age < Life {
		return nil, age
	}
	keys := record.GetKeys()
	next.Keys = [][]byte{keys[1], newKey(), keys[0]}
	return next, 0
}

// valid says what is wrong with a record.
func valid(record *fleetv1.TicketKeyRecord) error {
	if n := len(record.GetKeys()); n < 2 || n > kept {
		return fmt.Errorf("%d keys, expected 2 or %d", n, kept)
	}
	for i, k := range record.GetKeys() {
		if len(k) != KeyBytes {
			return fmt.Errorf("key %d has %d bytes, expected %d", i+1, len(k), KeyBytes)
		}
	}
	return nil
}

func newKey() []byte {
	k := make([]byte, KeyBytes)
	_, _ = rand.Read(k) // never fails
	return k
}
