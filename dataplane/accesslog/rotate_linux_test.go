package accesslog

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// withoutDescriptors has every attempt to open a file fail meanwhile.
func withoutDescriptors(t *testing.T, do func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	do()
}

func TestARotationThatCannotOpenAFileLosesNoOldOneAndIsTriedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := openLog(t, Options{Path: path, MaxSize: 1, Keep: 9})
	defer func() { l.file.Close() }()
	s := l.Sink()
	r := sample()
	line := func() {
		s.Finish(&r)
		s.Flush()
		l.write(<-l.queue)
	}
	line()
	line() // rotates
	withoutDescriptors(t, func() {
		if _, err := os.Open(path); err == nil {
			t.Fatal("a file was opened")
		}
		for range 12 { // more often than files are kept
			line()
		}
	})
	line()

	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v (%v), want the log and two old ones", files, err)
	}
	lines := 0
	for _, f := range files {
		lines += linesOf(t, f)
	}
	if lines != 15 || linesOf(t, path) != 1 {
		t.Errorf("%d lines are left of 15, %d of them in the file that is new", lines, linesOf(t, path))
	}
}
