package gossip

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/hashicorp/memberlist"
)

const (
	keySize = 32
	// maxKeys bounds a file: one in use, and those before and after it while keys
	// are being replaced.
	maxKeys = 8
)

// Keys seal gossip: with the first it is written, with any of them read. So a
// key is replaced in three steps, each on all nodes: add the new one at the end,
// move it to the front, remove the old one. The zero Keys is none.
type Keys struct {
	list [][]byte
}

// String does not tell them.
func (k Keys) String() string { return fmt.Sprintf("%d keys", len(k.list)) }

// GoString does not tell them either.
func (k Keys) GoString() string { return k.String() }

// IsZero says whether there are none.
func (k Keys) IsZero() bool { return len(k.list) == 0 }

func (k Keys) ring() *memberlist.Keyring {
	if k.IsZero() {
		return nil
	}
	ring, err := memberlist.NewKeyring(k.list, k.list[0])
	if err != nil {
		return nil // their length was checked
	}
	return ring
}

// ParseKeys reads the text of a key file: one key a line, 32 bytes in base64.
// Empty lines and lines that begin with # do not count.
func ParseKeys(text string) (Keys, error) {
	var k Keys
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		switch { // never with what stands there
		case err != nil:
			return Keys{}, fmt.Errorf("line %d: expected a key of %d bytes in base64", i+1, keySize)
		case len(key) != keySize:
			return Keys{}, fmt.Errorf("line %d: key of %d bytes, expected %d in base64", i+1, len(key), keySize)
		case len(k.list) == maxKeys:
			return Keys{}, fmt.Errorf("line %d: more than %d keys", i+1, maxKeys)
		}
		k.list = append(k.list, key)
	}
	if k.IsZero() {
		return Keys{}, errors.New("no key in it")
	}
	return k, nil
}

// ReadKeyFile reads the keys of a file, which nobody but its owner may read.
func ReadKeyFile(name string) (Keys, error) {
	f, err := os.Open(name)
	if err != nil {
		return Keys{}, fmt.Errorf("gossip key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Keys{}, fmt.Errorf("gossip key file: %w", err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return Keys{}, fmt.Errorf("gossip key file %s: mode %#o lets others read it, expected 0600", name, mode)
	}
	const limit = 64 << 10
	if !info.Mode().IsRegular() || info.Size() > limit {
		return Keys{}, fmt.Errorf("gossip key file %s: expected a file of at most %d bytes", name, limit)
	}
	text := make([]byte, info.Size())
	if _, err := f.ReadAt(text, 0); err != nil {
		return Keys{}, fmt.Errorf("gossip key file: %w", err)
	}
	k, err := ParseKeys(string(text))
	if err != nil {
		return Keys{}, fmt.Errorf("gossip key file %s: %w", name, err)
	}
	return k, nil
}
