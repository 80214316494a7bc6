package lastgood

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
)

func TestWaitHasTheDiskAskedAgainThatTookNoFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f := open(t, dir)
	free := fill(t, dir)
	defer lifecycletest.Run(t, f.Run)()
	s := saved(t, 3, 2)
	f.Save(s)
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := f.Wait(short, s); err == nil {
		t.Fatal("a file was written to a full disk")
	}
	free()
	long, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	if err := f.Wait(long, s); err != nil {
		t.Error(err)
	}
}

// TestWaitWritesAnewWhatWasDeletedUnderTheNode: the process that takes over reads it.
func TestWaitWritesAnewWhatWasDeletedUnderTheNode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f := open(t, dir)
	defer lifecycletest.Run(t, f.Run)()
	s := saved(t, 3, 2)
	f.Save(s)
	for _, gone := range []string{filepath.Join(dir, fileName), filepath.Join(dir, keyName), dir} {
		long, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		if err := f.Wait(long, s); err != nil {
			t.Fatal(err)
		}
		if got, ok := open(t, dir).Load(); !ok || got.Version != s.Version {
			t.Errorf("%v, %v", got.Version, ok)
		}
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
	}
	long, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if err := f.Wait(long, s); err != nil {
		t.Fatal(err)
	}
	if got, ok := open(t, dir).Load(); !ok || got.Version != s.Version {
		t.Errorf("%v, %v", got.Version, ok)
	}
}
