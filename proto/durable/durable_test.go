package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/durable"
)

// names are those in a directory, sorted.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func wantText(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestAFileIsReplacedAndNothingElseIsLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on the way")
	path := filepath.Join(dir, "state")
	for _, text := range []string{"first", "second"} {
		if err := durable.Replace(path, []byte(text), nil); err != nil {
			t.Fatal(err)
		}
		wantText(t, path, text)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"state"}) {
		t.Errorf("%q", got)
	}
}

func TestAFileStaysIfWhatComesBeforeItsNameFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := durable.Replace(path, []byte("old"), nil); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	err := durable.Replace(path, []byte("new"), func() error {
		wantText(t, path, "old")
		if got := names(t, dir); len(got) != 2 {
			t.Errorf("the text is not on disk yet: %q", got)
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	wantText(t, path, "old")
	if got := names(t, dir); !slices.Equal(got, []string{"state"}) {
		t.Errorf("%q", got)
	}
}

func TestAFileThatIsThereIsNotCreatedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	path := filepath.Join(dir, "key")
	if err := durable.Create(path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := durable.Create(path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	wantText(t, path, "first")
	if got := names(t, dir); !slices.Equal(got, []string{"key"}) {
		t.Errorf("%q", got)
	}
}

func TestAFileIsRemovedOnceAndThatThereIsNoneIsNoError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := durable.Replace(path, nil, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := durable.Remove(path); err != nil {
			t.Error(err)
		}
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("%q", got)
	}
	if err := durable.Remove(filepath.Join(dir, "none", "state")); err != nil {
		t.Error(err)
	}
}
