package lastgood

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/proxyfleet/proxyfleet/proto/seal"
)

const keyName = "seal.key"

// OpenKey opens the key under which a node seals what it keeps in a directory, or makes
// one. A file that holds no key is set aside: what was sealed under it is lost, and
// comes again from a control plane. A key that others may read is an error, which says
// how to put that right: without the key the node would start with nothing to serve.
func OpenKey(dir string, logger *slog.Logger) (*seal.Key, error) {
	path := filepath.Join(dir, keyName)
	key, err := seal.OpenFile(path)
	if !errors.Is(err, seal.ErrUnusable) {
		return key, err
	}
	aside := path + ".unusable"
	logger.Error("seal key: set aside, and another one made; the secrets that were kept cannot be read any more", "file", path, "aside", aside, "error", err)
	if err := os.Rename(path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return seal.CreateFile(path)
}
