package input_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/input"
)

// read is what Each gives of paths, as "name: data".
func read(ctx context.Context, stdin io.Reader, limit int64, paths ...string) (got []string, err error) {
	err = input.Each(ctx, paths, stdin, limit, func(name string, data []byte) error {
		got = append(got, name+": "+string(data))
		return nil
	})
	return got, err
}

func TestAFolderStandsForItsYAMLAndJSON(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.yml", "a.yaml", "c.json", "README.md", "d.yaml~"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "e.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	got, err := read(t.Context(), strings.NewReader("typed"), 100, in("README.md"), input.Stdin, dir)
	want := []string{ // a file is taken whatever its name is
		in("README.md") + ": of README.md", "stdin: typed",
		in("a.yaml") + ": of a.yaml", in("b.yml") + ": of b.yml", in("c.json") + ": of c.json",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := read(t.Context(), nil, 100, in("e.yaml")); err == nil {
		t.Errorf("a folder without any: %q", got)
	}
	if _, err := read(t.Context(), nil, 100, in("absent")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	stdin := strings.NewReader("typed")
	if _, err := read(t.Context(), stdin, 100, input.Stdin, dir, input.Stdin); !errors.Is(err, input.ErrStdinTwice) || stdin.Len() != 5 {
		t.Errorf("%v, %d bytes are left", err, stdin.Len())
	}
}

// endless is a device that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestNoMoreIsReadThanTheLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := read(t.Context(), endless{}, 10, path, input.Stdin)
	if want := []string{path + ": xxxxxxxxxx", "stdin: " + strings.Repeat("\x00", 10)}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAReadOfATerminalEndsWithItsContext(t *testing.T) {
	nobodyTypes, end := io.Pipe()
	defer end.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := read(ctx, nobodyTypes, 10, input.Stdin); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWhatAFileNamesIsBesideIt(t *testing.T) {
	abs, err := filepath.Abs("key.pem")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, name, want string }{
		{filepath.Join("conf.d", "a.yaml"), "key.pem", filepath.Join("conf.d", "key.pem")},
		{"a.yaml", filepath.Join("tls", "key.pem"), filepath.Join("tls", "key.pem")},
		{filepath.Join("conf.d", "a.yaml"), abs, abs},
		{input.StdinName, "key.pem", "key.pem"},
	} {
		if got := input.Beside(c.file, c.name); got != c.want {
			t.Errorf("%s in %s: %s, want %s", c.name, c.file, got, c.want)
		}
	}
}
