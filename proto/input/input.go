// Package input reads what commands are given by -f: files, folders of them, and
// standard input. How much is read is bounded by the caller: a file may be a device that
// never ends.
package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

const (
	// Stdin is the name by which standard input is asked for.
	Stdin = "-"
	// StdinName is how messages name what came from there.
	StdinName = "stdin"
)

// ErrStdinTwice is what Each says of standard input that is asked for twice.
var ErrStdinTwice = errors.New("-f -: standard input can be read once only")

// Each gives what is in files, folders and standard input to take, one after the other,
// with the name by which messages call it, and at most limit bytes of each. A folder
// stands for its YAML and JSON files, sorted by name; one without any is an error. Each
// ends at the first error, and at that of the context where nobody types.
func Each(ctx context.Context, paths []string, stdin io.Reader, limit int64, take func(name string, data []byte) error) error {
	if i := slices.Index(paths, Stdin); i >= 0 && slices.Contains(paths[i+1:], Stdin) {
		return ErrStdinTwice
	}
	for _, path := range paths {
		if path == Stdin {
			data, err := readStdin(ctx, stdin, limit)
			if err != nil {
				return fmt.Errorf("%s: %w", StdinName, err)
			}
			if err := take(StdinName, data); err != nil {
				return err
			}
			continue
		}
		files, err := filesOf(path)
		if err != nil {
			return err
		}
		for _, file := range files {
			data, err := Read(file, limit)
			if err != nil {
				return err
			}
			if err := take(file, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// filesOf is the file itself, or the files of a folder.
func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) && !e.IsDir() {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no *.yaml, *.yml or *.json in this folder", path)
	}
	return files, nil
}

// readStdin reads standard input, which may be a terminal at which nobody types: a read
// ends for no context, but what waits for it does.
func readStdin(ctx context.Context, stdin io.Reader, limit int64) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		data, err := io.ReadAll(io.LimitReader(stdin, limit))
		read <- result{data, err}
	}()
	select {
	case r := <-read:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Read reads at most limit bytes of a file.
func Read(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// Beside is where a file is that another file names: beside that one if the name is
// relative, and beside the user if it came from standard input.
func Beside(file, name string) string {
	if file == StdinName || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(file), name)
}
