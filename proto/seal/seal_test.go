package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/seal"
)

func newKey(t *testing.T) *seal.Key {
	t.Helper()
	k, err := seal.Parse(seal.Generate())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestOnlyTheKeyOpensAndOnlyInItsPlace(t *testing.T) {
	k, plain, about := newKey(t), []byte("the secret of the house"), []byte("blob 1")
	sealed := k.Seal(plain, about)
	if bytes.Contains(sealed, plain) {
		t.Fatal("the text can be read")
	}
	if got, err := k.Open(sealed, about); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("opened as %q, %v", got, err)
	}
	if _, err := k.Open(sealed, []byte("blob 2")); !errors.Is(err, seal.ErrRefused) {
		t.Errorf("about something else: %v", err)
	}
	if _, err := newKey(t).Open(sealed, about); !errors.Is(err, seal.ErrRefused) {
		t.Errorf("another key: %v", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := k.Open(bad, about); !errors.Is(err, seal.ErrRefused) {
			t.Errorf("byte %d altered: %v", i, err)
		}
		if _, err := k.Open(sealed[:i], about); !errors.Is(err, seal.ErrRefused) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if bytes.Equal(sealed, k.Seal(plain, about)) {
		t.Error("the same text was sealed twice under the same nonce")
	}
}

func TestKeysAreKeptForTheirOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "seal.key")
	if _, err := seal.ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	made, err := seal.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := seal.OpenFile(path)
	if err != nil || again.ID() != made.ID() {
		t.Errorf("read as %v, %v, made as %v", again, err, made)
	}
	if _, err := seal.CreateFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made over another: %v", err)
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.ReadFile(path); err == nil || !strings.Contains(err.Error(), "mode 0600") {
		t.Errorf("a key for everybody: %v", err)
	}
}

func TestKeysOfAnotherFormAreRefusedAndNotTold(t *testing.T) {
	whole := seal.Generate()
	for _, text := range []string{"", "x", whole[:62], whole + "00", whole[:63] + "g"} {
		if _, err := seal.Parse(text); err == nil || text != "" && text != "x" && strings.Contains(err.Error(), text[:20]) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if k, err := seal.Parse("\n" + whole + "\n"); err != nil || strings.Contains(whole, k.ID()) {
		t.Errorf("%v, %v", k, err)
	}
}

func TestAKeyWhoseFileIsGoneIsKeptAgainAndNoOtherIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "seal.key")
	k := newKey(t)
	for range 2 { // written, and found
		if err := k.Keep(path); err != nil {
			t.Fatal(err)
		}
		if got, err := seal.ReadFile(path); err != nil || got.ID() != k.ID() {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if err := newKey(t).Keep(path); err != nil {
		t.Fatal(err)
	}
	if got, err := seal.ReadFile(path); err != nil || got.ID() != k.ID() {
		t.Errorf("replaced: %v, %v", got, err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, k); text != "seal key "+k.ID() {
			t.Errorf("%s: %s", format, text)
		}
	}
}
