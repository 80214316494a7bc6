package tree

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// HashSize is the length of a Hash in bytes.
const HashSize = sha256.Size

// Hash is a SHA-256 sum: of a resource's canonical bytes, or of the encoding of
// a node of the tree. The zero Hash stands for no hash.
type Hash [HashSize]byte

// Sum is the hash of b.
func Sum(b []byte) Hash { return sha256.Sum256(b) }

// String is the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short is the first twelve hexadecimal digits, for people to read.
func (h Hash) Short() string { return hex.EncodeToString(h[:6]) }

// IsZero reports whether h is no hash.
func (h Hash) IsZero() bool { return h == Hash{} }

// Compare orders hashes as their bytes.
func (h Hash) Compare(o Hash) int { return bytes.Compare(h[:], o[:]) }

// ParseHash reads what String writes.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*HashSize {
		return Hash{}, fmt.Errorf("hash %q: has %d characters, not %d", clip(s), len(s), 2*HashSize)
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("hash %q: %w", s, err)
	}
	return h, nil
}

// HashFromBytes takes the 32 bytes of a hash, as messages carry it.
func HashFromBytes(b []byte) (Hash, error) {
	if len(b) != HashSize {
		return Hash{}, fmt.Errorf("hash: has %d bytes, not %d", len(b), HashSize)
	}
	return Hash(b), nil
}

// clip keeps what a peer sent from filling an error message.
func clip(s string) string {
	if len(s) > 2*HashSize {
		return s[:2*HashSize] + "…"
	}
	return s
}

// Key names a resource.
type Key struct {
	Kind string // "Route"
	Name string
}

// String is "Kind/name".
func (k Key) String() string { return k.Kind + "/" + k.Name }

// Compare orders keys by kind, then name.
func (k Key) Compare(o Key) int {
	return cmp.Or(strings.Compare(k.Kind, o.Kind), strings.Compare(k.Name, o.Name))
}
