package gossip

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
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
)

// sieve tells datagrams of the fleet from those of others, at a fraction of what memberlist
// takes to find that out and complain: it makes its ciphers once, and allocates nothing.
type sieve struct {
	head  []byte // mark, length and label
	keys  []cipher.AEAD
	plain []byte
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

// check says why b is not of the fleet.
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
	for _, key := range s.keys {
		if n := key.NonceSize(); len(sealed) >= n+key.Overhead() {
			plain, err := key.Open(s.plain[:0], sealed[:n], sealed[n:], s.head[2:])
			if err == nil {
				s.plain = plain // its room, for the next
				return nil
			}
		}
	}
	return errNotSealed
}
