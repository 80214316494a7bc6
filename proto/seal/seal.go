package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

const (
	keyBytes = 32
	idBytes  = 8
)

// ErrRefused says that sealed bytes are not what was sealed: altered, about
// something else, or under another key.
var ErrRefused = errors.New("the seal does not hold: the bytes were altered, are of another place, or sealed under another key")

// ErrUnusable says that a file holds no key: it has another form.
var ErrUnusable = errors.New("unusable seal key")

// ErrExposed says that everybody may read the file of a key. The key is good: what was
// sealed under it needs it.
var ErrExposed = errors.New("exposed seal key")

// Key seals and opens. It is safe for concurrent use.
type Key struct {
	id   string
	text string      // what Parse read
	aead cipher.AEAD // puts a random nonce in front
}

// Parse reads a key's text.
func Parse(text string) (*Key, error) {
	raw, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(raw) != keyBytes {
		return nil, fmt.Errorf("%w: expected %d hexadecimal digits, as openssl rand -hex %d prints them", ErrUnusable, 2*keyBytes, keyBytes)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	sum := sha256.Sum256(append([]byte("proxyfleet seal key id\x00"), raw...))
	return &Key{id: hex.EncodeToString(sum[:idBytes]), text: hex.EncodeToString(raw), aead: aead}, nil
}

// Generate is the text of a new key.
func Generate() string {
	var raw [keyBytes]byte
	_, _ = rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}

// ID names the key and tells nothing of it.
func (k *Key) ID() string { return k.id }

// String is the id: a key that is logged by mistake is not told.
func (k *Key) String() string { return "seal key " + k.id }

// GoString is String.
func (k *Key) GoString() string { return k.String() }

// Seal encrypts plain, which is about something.
func (k *Key) Seal(plain, about []byte) []byte { return k.aead.Seal(nil, nil, plain, about) }

// Open decrypts what Seal made about the same, or returns ErrRefused.
func (k *Key) Open(sealed, about []byte) ([]byte, error) {
	plain, err := k.aead.Open(nil, nil, sealed, about)
	if err != nil {
		return nil, ErrRefused
	}
	return plain, nil
}
