package lastgood

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestWhatANodeKeepsIsReadAndNothingIsChanged(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v were made", left, err)
	}
	f := open(t, dir)
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key alone: %v", err)
	}
	older, newer := saved(t, 1, 5), saved(t, 2, 5)
	for _, c := range []table.Configuration{older, newer} {
		if err := f.write(&c); err != nil {
			t.Fatal(err)
		}
		kept, err := Read(dir)
		if err != nil || kept.Doubt != nil || kept.Written.IsZero() || kept.Configuration.Tree.Root() != c.Tree.Root() || kept.Configuration.Version != c.Version {
			t.Errorf("%v, %v, %v", kept.Configuration.Version, kept.Doubt, err)
		}
	}
	path := filepath.Join(dir, fileName)
	if err := os.Truncate(path, 50); err != nil {
		t.Fatal(err)
	}
	kept, err := Read(dir)
	if err != nil || !errors.Is(kept.Doubt, errDamaged) || kept.Configuration.Version != older.Version {
		t.Errorf("%v, %v, %v", kept.Configuration.Version, kept.Doubt, err)
	}
	if err := os.Remove(filepath.Join(dir, oldName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); !errors.Is(err, errDamaged) {
		t.Error(err)
	}
}
