package seal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/proxyfleet/proxyfleet/proto/durable"
)

// maxFile is more than a key with some white space.
const maxFile = 1 << 10

// ReadFile reads the key of a file. errors.Is finds fs.ErrNotExist if there is
// none, ErrExposed if others may read it, ErrUnusable if what it holds is no key.
func ReadFile(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	// Groups may: a secret that Kubernetes mounts belongs to one.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s: %w: everybody on this machine may read it (mode %04o): expected mode 0600: chmod 600 %s", path, ErrExposed, info.Mode().Perm(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	k, err := Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// CreateFile makes a key and keeps it in a file, which must not be there: readable
// by its owner, whole or not at all, and on disk when it returns.
func CreateFile(path string) (*Key, error) {
	text := Generate()
	k, err := Parse(text)
	if err != nil {
		return nil, err
	}
	if err := durable.Create(path, []byte(text+"\n")); err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return k, nil
}

// Keep writes the key's file anew if it is gone: what is sealed under the key from then on
// is to be opened by processes to come. Another key that is there stays.
func (k *Key) Keep(path string) error {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = durable.Create(path, []byte(k.text+"\n")); errors.Is(err, fs.ErrExist) {
			return nil // another process was faster
		}
	}
	if err != nil {
		return fmt.Errorf("seal key: %w", err)
	}
	return nil
}

// OpenFile reads the key of a file, or makes one.
func OpenFile(path string) (*Key, error) {
	k, err := ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if k, err = CreateFile(path); errors.Is(err, fs.ErrExist) {
		return ReadFile(path) // another process was faster
	}
	return k, err
}
