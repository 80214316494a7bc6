package lastgood

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const drainedName = "drained"

// Drained says whether SaveDrained noted in a directory that the node is drained.
func Drained(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, drainedName))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, fmt.Errorf("whether the node is drained: %w", err)
}

// SaveDrained notes whether the node is drained: when it returns nil, Drained will
// return that, whatever happens to the machine. note is for people who find the file.
func SaveDrained(dir string, drained bool, note string) error {
	var err error
	if drained {
		err = replace(dir, drainedName, []byte(note), func() error { return nil })
	} else if err = os.Remove(filepath.Join(dir, drainedName)); err == nil {
		err = syncDir(dir)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("whether the node is drained: %w", err)
	}
	return nil
}
