package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// start runs l; stop ends it, and returns when everything was written.
func start(t *testing.T, l *Log) (stop func()) {
	t.Helper()
	stop = lifecycletest.Run(t, l.Run)
	return stop
}

func openLog(t *testing.T, o Options) *Log {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func linesOf(t *testing.T, path string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		if !json.Valid(line) || line[len(line)-1] != '\n' {
			t.Fatalf("%s has a line that is no JSON: %q", path, line)
		}
	}
	return bytes.Count(data, []byte("\n"))
}

func TestEveryLineArrives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := openLog(t, Options{Path: path})
	stop := start(t, l)
	const loops, each = 3, 5000
	var wg sync.WaitGroup
	for range loops {
		s := l.Sink()
		wg.Go(func() {
			r := sample()
			for n := range each {
				s.Finish(&r)
				if n%100 == 0 {
					s.Flush()
				}
			}
			if !waittest.Soon(func() bool { s.Flush(); return s.buffer == nil }) {
				t.Error("there is no room in the queue")
			}
		})
	}
	wg.Wait()
	stop()
	if got := uint64(linesOf(t, path)) + l.Dropped(); got != loops*each {
		t.Errorf("%d lines written and dropped, want %d", got, loops*each)
	}
	if got := int(l.Written()); got != linesOf(t, path) {
		t.Errorf("written = %d, the file has %d", got, linesOf(t, path))
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode %v, want at most 0640", info.Mode())
	}
}

func TestAStuckDestinationLosesLinesAndHoldsNobodyUp(t *testing.T) {
	r, w := io.Pipe() // a write waits until somebody reads
	l := openLog(t, Options{Path: Stdout})
	l.out = w
	stop := start(t, l)
	s := l.Sink()
	record := sample()
	const lines = 40_000 // more than the queue holds
	for range lines {
		s.Finish(&record)
	}
	if l.Dropped() == 0 {
		t.Error("nothing was dropped")
	}
	var got bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&got, r)
	}()
	waittest.Until(t, "room in the queue", func() bool { s.Flush(); return s.buffer == nil })
	stop()
	w.Close()
	<-done
	if n := uint64(bytes.Count(got.Bytes(), []byte("\n"))); n+l.Dropped() != lines || n != l.Written() {
		t.Errorf("%d lines arrived, %d written, %d dropped, of %d", n, l.Written(), l.Dropped(), lines)
	}
}

// flaky takes a part of each write while full.
type flaky struct {
	bytes.Buffer
	room int // bytes until it is full; -1: never
}

func (f *flaky) Write(p []byte) (int, error) {
	if f.room >= 0 && len(p) > f.room {
		n, _ := f.Buffer.Write(p[:f.room])
		f.room = 0
		return n, errors.New("no space left on device")
	}
	if f.room >= 0 {
		f.room -= len(p)
	}
	return f.Buffer.Write(p)
}

func TestAFullDiskDropsAndCountsAndIsTriedAgain(t *testing.T) {
	out := &flaky{room: 1000}
	l := openLog(t, Options{Path: Stdout})
	l.out = out
	s := l.Sink()
	record := sample()
	fill := func(n int) {
		for range n {
			s.Finish(&record)
		}
		s.Flush()
		l.write(<-l.queue)
	}
	fill(10)
	fill(10)
	out.room = -1
	fill(10)
	whole := 0
	for line := range strings.Lines(out.String()) {
		if json.Valid([]byte(line)) {
			whole++
		}
	}
	if whole != int(l.Written()) || l.Written()+l.Dropped() != 30 || whole < 11 {
		t.Errorf("%d whole lines, %d written, %d dropped, of 30", whole, l.Written(), l.Dropped())
	}
}

func TestWhatADeviceRefusesIsCountedAsDropped(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	l := openLog(t, Options{Path: "/dev/full", MaxSize: 10})
	stop := start(t, l)
	s := l.Sink()
	r := sample()
	s.Finish(&r)
	s.Flush()
	stop()
	if l.Written() != 0 || l.Dropped() != 1 {
		t.Errorf("%d written, %d dropped; want 0 and 1", l.Written(), l.Dropped())
	}
}

// TestALineIsNotGluedToOneThatWasCutBefore by whoever wrote the file until then.
func TestALineIsNotGluedToOneThatWasCutBefore(t *testing.T) {
	for before, want := range map[string]string{"": "", "{}\n": "{}\n", "{}\n{\"cut": "{}\n{\"cut\n"} {
		path := filepath.Join(t.TempDir(), "access.log")
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		l := openLog(t, Options{Path: path})
		stop := start(t, l)
		s := l.Sink()
		r := sample()
		s.Finish(&r)
		s.Flush()
		stop()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line, ok := bytes.CutPrefix(data, []byte(want))
		if !ok || !json.Valid(line) || bytes.Count(line, []byte("\n")) != 1 {
			t.Errorf("behind %q: %q", before, data)
		}
	}
}

func TestReopenFollowsTheName(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be renamed here")
	}
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "access.log"), filepath.Join(dir, "moved")
	l := openLog(t, Options{Path: path})
	stop := start(t, l)
	s := l.Sink()
	r := sample()
	s.Finish(&r)
	s.Flush()
	waittest.Until(t, "the first line", func() bool { return l.Written() == 1 })
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	waittest.Until(t, "the new file in use", func() bool { return len(l.asks) == 0 })
	s.Finish(&r)
	s.Flush()
	stop()
	if a, b := linesOf(t, moved), linesOf(t, path); a != 1 || b != 1 {
		t.Errorf("%d lines in the old file and %d in the new, want 1 and 1", a, b)
	}
}

func TestAReopenThatFailsKeepsTheFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, Options{Path: filepath.Join(dir, "access.log")})
	stop := start(t, l)
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Skipf("the directory of an open file cannot be renamed here: %v", err)
	}
	var said bytes.Buffer
	l.options.Logger = slog.New(slog.NewTextHandler(&said, nil))
	l.Reopen()
	waittest.Until(t, "the attempt", func() bool { return len(l.asks) == 0 })
	s := l.Sink()
	r := sample()
	s.Finish(&r)
	s.Flush()
	stop()
	if n := linesOf(t, filepath.Join(dir+"2", "access.log")); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
	if !strings.Contains(said.String(), "not opened anew") {
		t.Errorf("it was not told: %q", said.String())
	}
}

func TestAFileThatIsMovedTwiceBeforeItIsOpenedAnewIsTheOneThatIsThereThen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be renamed here")
	}
	path := filepath.Join(t.TempDir(), "access.log")
	l := openLog(t, Options{Path: path})
	for _, moved := range []string{".1", ".2"} { // Run is stuck in a write
		if err := os.Rename(path, path+moved); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		l.Reopen()
	}
	stop := start(t, l)
	waittest.Until(t, "the new file in use", func() bool { return len(l.asks) == 0 })
	s := l.Sink()
	r := sample()
	s.Finish(&r)
	s.Flush()
	stop()
	if n := linesOf(t, path); n != 1 {
		t.Errorf("%d lines in the file of that name, want 1", n)
	}
}

func TestRotationKeepsSoManyFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be renamed here")
	}
	path := filepath.Join(t.TempDir(), "access.log")
	l := openLog(t, Options{Path: path, MaxSize: 1500, Keep: 2})
	stop := start(t, l)
	s := l.Sink()
	r := sample()
	const buffers = 12
	for i := range buffers {
		s.Finish(&r)
		s.Flush()
		waittest.Until(t, "a line", func() bool { return l.Written() == uint64(i+1) })
	}
	stop()
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v (%v), want the log and two old ones", files, err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if n := linesOf(t, f); n == 0 || info.Size() > 1500 {
			t.Errorf("%s: %d lines, %d bytes", f, n, info.Size())
		}
	}
}

func TestOffWritesNothing(t *testing.T) {
	l := openLog(t, Options{Path: Off})
	stop := start(t, l)
	s := l.Sink()
	r := sample()
	s.Finish(&r)
	s.Flush()
	l.Reopen()
	stop()
	if l.Written()+l.Dropped() != 0 {
		t.Errorf("%d written, %d dropped; want none", l.Written(), l.Dropped())
	}
}

func TestAFileThatCannotBeOpenedIsSaid(t *testing.T) {
	_, err := New(Options{Path: filepath.Join(t.TempDir(), "no", "such", "dir")})
	if err == nil || !strings.HasPrefix(err.Error(), "access log: ") {
		t.Errorf("got %v", err)
	}
}

func TestFinishDoesNotAlloc(t *testing.T) {
	l := openLog(t, Options{Path: Stdout})
	l.out = io.Discard
	s := l.Sink()
	r := sample()
	drain := func() {
		for len(l.queue) > 0 {
			l.write(<-l.queue)
		}
	}
	for range 1000 { // until two buffers go round
		s.Finish(&r)
		drain()
	}
	if n := testing.AllocsPerRun(2000, func() { s.Finish(&r); drain() }); n != 0 {
		t.Errorf("%v allocations a line, want 0", n)
	}
}

// What a loop pays for a line, handing over included.
func BenchmarkFinish(b *testing.B) {
	l, err := New(Options{Path: Stdout})
	if err != nil {
		b.Fatal(err)
	}
	l.out = io.Discard
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	s := l.Sink()
	r := sample()
	b.ReportAllocs()
	for b.Loop() {
		r.StartUnixNano += 20_000
		s.Finish(&r)
	}
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
}
