package seal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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
	if err := write(path, text+"\n"); err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return k, nil
}

// Keep writes the key's file anew if it is gone: what is sealed under the key from then on
// is to be opened by processes to come. Another key that is there stays.
func (k *Key) Keep(path string) error {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = write(path, k.text+"\n"); errors.Is(err, fs.ErrExist) {
			return nil // another process was faster
		}
	}
	if err != nil {
		return fmt.Errorf("seal key: %w", err)
	}
	return nil
}

func write(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	// A link, unlike a rename, does not replace a key that another process made.
	switch err := os.Link(f.Name(), path); {
	case err == nil:
		return syncDir(dir)
	case errors.Is(err, fs.ErrExist):
		return err
	}
	// File systems without links.
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in a directory last over a power failure.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // which has nothing of the kind
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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
