// Package durable changes files so that a crash or a power failure leaves either what was
// there before or what is there after, and nothing in between. When a function returns nil
// the change is on disk.
//
// Files are readable by their owner alone. A process that is killed while it writes the file
// "name" may leave one "name.123456", of any digits: removing those is left to the caller.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Replace puts a file in place of the one of that name, if there is one. Its directory is
// made if it is missing. before is called when the text is on disk and only the name is left
// to change: an error of it leaves everything as it was. nil: nothing is called.
func Replace(path string, text []byte, before func() error) error {
	temporary, err := write(path, text)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary) }() // after the rename there is nothing to remove
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Create makes a file. Its directory is made if it is missing. A file of that name stays,
// and is an error for which errors.Is finds fs.ErrExist.
func Create(path string, text []byte) error {
	temporary, err := write(path, text)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary) }()
	// A link, unlike a rename, does not replace what another process made meanwhile.
	switch err := os.Link(temporary, path); {
	case err == nil:
		return SyncDir(filepath.Dir(path))
	case errors.Is(err, fs.ErrExist):
		return err
	}
	// File systems without links.
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Remove removes a file. That there is none is no error.
func Remove(path string) error {
	switch err := os.Remove(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir brings to disk which names a directory has.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // it has nothing of the kind
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// write brings a text to disk in a file beside path, and returns that file's name.
func write(path string, text []byte) (temporary string, err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
