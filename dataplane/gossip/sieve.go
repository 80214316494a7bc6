package gossip

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
)

// What a datagram looks like, from its begin (memberlist's label.go, security.go): the mark of
// a label, its length, the label; where gossip is sealed the version of that, a nonce, and what
// is sealed, with the label as what is authenticated besides.
const (
	labelMark        = 244
	maxSealedVersion = 1
)

var (
	errNotOfFleet = errors.New("it is of another fleet, or no gossip")
	errNotSealed  = errors.New("it is sealed with none of this node's keys")
	errReceived   = errors.New("it was received before")
)

// sieve tells datagrams of the fleet from those of others, at a fraction of what memberlist
// takes to find that out and complain: it makes its ciphers once, and allocates nothing.
type sieve struct {
	head     []byte // mark, length and label
	keys     []cipher.AEAD
	plain    []byte
	received received
}

func newSieve(label string, keys Keys) (*sieve, error) {
	s := &sieve{head: append([]byte{labelMark, byte(len(label))}, label...)} //nolint:gosec // LabelMaxSize
	for _, key := range keys.list {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		s.keys = append(s.keys, aead)
	}
	return s, nil
}

// receivedKept is how many datagrams are remembered, by 8 bytes each: those of minutes in a small
// fleet, of seconds in a large one.
const receivedKept = 32 << 10

// received knows the datagrams of the fleet that came last, by their nonces, which are random and
// used once each: whoever has recorded some and sends them again, again and again, is a stranger.
// Each has one place, by which the one before it that had that is forgotten.
type received [receivedKept]uint64

// has says whether what is sealed came before, as far as that is remembered.
func (r *received) has(sealed []byte) bool {
	nonce, ok := nonceOf(sealed)
	return ok && r[nonce%receivedKept] == nonce
}

// note takes note of what is sealed by a key of the fleet.
func (r *received) note(sealed []byte) {
	if nonce, ok := nonceOf(sealed); ok {
		r[nonce%receivedKept] = nonce
	}
}

func nonceOf(sealed []byte) (nonce uint64, ok bool) {
	if len(sealed) < 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(sealed), true
}

// check says why b is not of the fleet, or is nothing new.
func (s *sieve) check(b []byte) error {
	sealed, ok := bytes.CutPrefix(b, s.head)
	switch {
	case !ok:
		return errNotOfFleet
	case len(s.keys) == 0:
		return nil
	case len(sealed) == 0 || sealed[0] > maxSealedVersion:
		return errNotSealed
	}
	sealed = sealed[1:]
	if s.received.has(sealed) {
		return errReceived
	}
	for _, key := range s.keys {
		if n := key.NonceSize(); len(sealed) >= n+key.Overhead() {
			plain, err := key.Open(s.plain[:0], sealed[:n], sealed[n:], s.head[2:])
			if err == nil {
				s.plain = plain // its room, for the next
				s.received.note(sealed)
				return nil
			}
		}
	}
	return errNotSealed
}
