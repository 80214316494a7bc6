package lastgood

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWaitHasTheDiskAskedAgainThatTookNoFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f := open(t, dir)
	free := fill(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
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
