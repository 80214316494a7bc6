package secure

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"sync"
	"time"
)

const (
	// ticketLife is for how long new sessions are sealed with one key, and
	// ticketKeys how many are kept for opening: a session can be resumed for a day
	// to a day and a half.
	ticketLife = 12 * time.Hour
	ticketKeys = 3
)

// Tickets are the keys by which a node seals the sessions that it lets clients
// keep (RFC 8446 section 4.6.1). Nodes with the same keys resume each other's
// sessions. Safe for concurrent use.
type Tickets struct {
	// seal holds the keys: crypto/tls changes them under its own lock.
	seal tls.Config

	mu    sync.Mutex
	given bool       // guarded by mu; Set was called
	own   [][32]byte // guarded by mu; newest first
	next  time.Time  // guarded by mu; when own keys change
}

// NewTickets makes keys that only this process has.
func NewTickets(now time.Time) (*Tickets, error) {
	t := new(Tickets)
	return t, t.Step(now)
}

// Set makes keys the ones in force, in place of those of this process. The first
// seals, all of them open. No keys: the process has its own again from the next
// Step on.
func (t *Tickets) Set(keys [][32]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.given = len(keys) > 0
	t.own, t.next = nil, time.Time{}
	if t.given {
		t.seal.SetSessionTicketKeys(keys)
	}
}

// Step makes a new key of this process if the time has come and none were set.
func (t *Tickets) Step(now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.given || now.Before(t.next) {
		return nil
	}
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return fmt.Errorf("session ticket key: %w", err)
	}
	t.own = append([][32]byte{key}, t.own...)
	t.own = t.own[:min(len(t.own), ticketKeys)]
	t.next = now.Add(ticketLife)
	t.seal.SetSessionTicketKeys(t.own)
	return nil
}
