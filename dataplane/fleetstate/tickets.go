package fleetstate

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// TicketKeyBytes is the size of a session-ticket key.
const TicketKeyBytes = 32

// olderBy is by how many milliseconds keys may be older than those in force and not be
// followed. Revisions are at least Unix milliseconds, and keys are in use for a day and a half:
// what is older by days is of a store that was lost, or put back, after a clock had been ahead.
// The node would keep the keys that it has until the time has come, and no other node has them.
const olderBy = 3 * 24 * 60 * 60 * 1000

// TicketKeys puts the fleet's session-ticket keys into force, and keeps them for
// the next start. Keys are never logged.
type TicketKeys struct {
	set    func([][TicketKeyBytes]byte)
	logger *slog.Logger
	file   *lastgood.Tickets // nil: none is kept
	asks   wakeup.Signal     // keys were taken

	kept *fleetv1.TicketKeys // owned by Run: what the file holds

	mu      sync.Mutex
	inForce *fleetv1.TicketKeys // guarded by mu; nil: the node makes its own
}

// NewTicketKeys makes one that puts keys into force by set, the first of which seals.
func NewTicketKeys(set func([][TicketKeyBytes]byte), logger *slog.Logger) *TicketKeys {
	return &TicketKeys{set: set, logger: logger, asks: wakeup.NewSignal()}
}

// Remember keeps keys in a file, and puts those that it holds into force.
func (t *TicketKeys) Remember(file *lastgood.Tickets) {
	t.file = file
	if keys := file.Load(); keys != nil && t.follow(keys) {
		t.kept = keys
	}
}

// Take takes what the control plane says. It does not block.
func (t *TicketKeys) Take(s *fleetv1.FleetState) {
	if s.GetTicketKeys() == nil || !t.follow(s.GetTicketKeys()) {
		return
	}
	t.asks.Send()
}

// follow puts keys into force unless they are no news: a control plane that reads an
// older store does not bring older keys back.
func (t *TicketKeys) follow(keys *fleetv1.TicketKeys) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inForce != nil && !follows(t.inForce.GetRevision(), keys.GetRevision()) {
		return false
	}
	list := make([][TicketKeyBytes]byte, 0, len(keys.GetKeys()))
	for _, k := range keys.GetKeys() {
		if len(k) != TicketKeyBytes {
			t.logger.Error("session-ticket keys: not of the size that is expected, and left out", "revision", keys.GetRevision(), "bytes", len(k))
			return false
		}
		list = append(list, [TicketKeyBytes]byte(k))
	}
	if len(list) == 0 {
		return false
	}
	t.inForce = keys
	t.set(list)
	t.logger.Info("session-ticket keys: in force", "revision", keys.GetRevision(), "keys", len(list))
	return true
}

// follows says whether keys of a revision are newer than those in force, or of another store.
func follows(inForce, revision uint64) bool {
	return revision > inForce || inForce-revision > olderBy
}

// Run writes what came into force until ctx ends. What a full disk did not take is
// tried again, and once more at the end: the next keys come in hours.
func (t *TicketKeys) Run(ctx context.Context) error {
	for {
		var retry <-chan time.Time
		if !t.keep() {
			retry = time.After(keepRetry)
		}
		select {
		case <-ctx.Done():
			t.keep()
			return nil
		case <-t.asks:
		case <-retry:
		}
	}
}

// keep writes the keys in force, and reports whether they are on disk.
func (t *TicketKeys) keep() bool {
	t.mu.Lock()
	keys := t.inForce
	t.mu.Unlock()
	if t.file == nil || keys == t.kept {
		return true
	}
	if err := t.file.Write(keys); err != nil {
		t.logger.Error("session-ticket keys: not kept for the next start", "error", err, "retry_in", keepRetry)
		return false
	}
	t.kept = keys
	return true
}
