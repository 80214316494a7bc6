package lastgood

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

// Kept is what a directory holds of a node's last known good configuration.
type Kept struct {
	Configuration table.Configuration
	Written       time.Time
	// Doubt is why the newest file was not believed, and an older one was; nil: it was.
	Doubt error
}

// Read reads what a node keeps in a directory, whether it runs or not, and changes nothing
// there. fs.ErrNotExist: it keeps nothing.
func Read(dir string) (Kept, error) {
	key, err := seal.ReadFile(filepath.Join(dir, keyName))
	if err != nil {
		return Kept{}, err
	}
	f := &File{dir: dir, key: key}
	var doubt error
	for _, name := range []string{fileName, oldName} {
		path := filepath.Join(dir, name)
		c, written, err := f.read(path)
		if err == nil {
			return Kept{Configuration: c, Written: written, Doubt: doubt}, nil
		}
		if doubt == nil && !errors.Is(err, fs.ErrNotExist) {
			doubt = fmt.Errorf("%s: %w", path, err)
		}
	}
	if doubt == nil {
		doubt = &fs.PathError{Op: "read", Path: filepath.Join(dir, fileName), Err: fs.ErrNotExist}
	}
	return Kept{}, doubt
}
