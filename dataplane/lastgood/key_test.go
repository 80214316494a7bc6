package lastgood

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/seal"
)

// TestASealKeyThatOthersMayReadIsNotThrownAway: with it would go the last known good
// configuration, by one cp without -p.
func TestASealKeyThatOthersMayReadIsNotThrownAway(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such mode")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "seal.key")
	logger := slog.New(slog.DiscardHandler)
	made, err := OpenKey(dir, logger)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // what is tested
		t.Fatal(err)
	}
	if _, err := OpenKey(dir, logger); !errors.Is(err, seal.ErrExposed) {
		t.Errorf("%v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if k, err := OpenKey(dir, logger); err != nil || k.ID() != made.ID() {
		t.Errorf("after the chmod that the error asks for: another key, or %v", err)
	}
}

// TestAFileThatHoldsNoSealKeyIsSetAside, and keeps no node from starting.
func TestAFileThatHoldsNoSealKeyIsSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "seal.key")
	if err := os.WriteFile(path, []byte("half a ke"), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := OpenKey(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := seal.ReadFile(path); err != nil || kept.ID() != key.ID() {
		t.Errorf("the new key is not kept: %v", err)
	}
	if text, err := os.ReadFile(path + ".unusable"); err != nil || string(text) != "half a ke" {
		t.Errorf("aside: %q, %v", text, err)
	}
}
