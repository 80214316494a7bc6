package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

func start(t *testing.T, dir string) *Etcd {
	t.Helper()
	e, err := Start(t.Context(), Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func put(t *testing.T, e *Etcd, key, value string) uint64 {
	t.Helper()
	r, err := e.Client().Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.ClusterId
}

// TestStartOnAnEmptyDirectoryTakesLessThanASecond where nobody else has the processors: one
// of some times counts.
func TestStartOnAnEmptyDirectoryTakesLessThanASecond(t *testing.T) {
	const tries = 5
	for try := 1; ; try++ {
		begin := time.Now()
		e := start(t, t.TempDir())
		put(t, e, "key", "value")
		took := time.Since(begin)
		t.Logf("first write done %v after the start", took)
		if took <= time.Second {
			return
		}
		if try == tries {
			t.Fatalf("start and first write took more than a second %d times", tries)
		}
	}
}

func TestDataAndClusterIDAreKeptOverRestarts(t *testing.T) {
	dir := t.TempDir()
	var id uint64
	for i := range 3 {
		begin := time.Now()
		e := start(t, dir)
		t.Logf("start %d: ready after %v", i, time.Since(begin))
		if i > 0 {
			r, err := e.Client().Get(t.Context(), "key")
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Kvs) != 1 || string(r.Kvs[0].Value) != fmt.Sprint(i-1) {
				t.Fatalf("start %d: the key is %v", i, r.Kvs)
			}
			if r.Header.ClusterId != id {
				t.Fatalf("start %d: cluster id %x, was %x", i, r.Header.ClusterId, id)
			}
		}
		id = put(t, e, "key", fmt.Sprint(i))
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEachDirectoryIsAClusterOfItsOwn(t *testing.T) {
	a, b := start(t, t.TempDir()), start(t, t.TempDir())
	if x, y := put(t, a, "key", "1"), put(t, b, "key", "2"); x == y {
		t.Fatalf("two directories have one cluster id, %x", x)
	}
}

func TestASecondStartOnTheSameDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	_, err := Start(t.Context(), Options{DataDir: dir})
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("second start: %v", err)
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not name the directory: %v", err)
	}
	put(t, first, "key", "still works")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
}

func TestCloseTwiceIsAllowed(t *testing.T) {
	e := start(t, t.TempDir())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	<-e.Done()
}

// TestACallEndsWithItsContextWhileTheFileIsWrittenAnew: that takes seconds, in which etcd
// holds this lock. A probe of readiness, and proxyctl status, wait for less.
func TestACallEndsWithItsContextWhileTheFileIsWrittenAnew(t *testing.T) {
	e := start(t, t.TempDir())
	put(t, e, "key", "value")
	reads := e.etcd.Server.Backend().ReadTx().(sync.Locker)
	reads.Lock()
	held := time.AfterFunc(10*time.Second, reads.Unlock)
	defer func() {
		if held.Stop() {
			reads.Unlock()
		}
	}()
	for name, call := range map[string]func(ctx context.Context) error{
		"get": func(ctx context.Context) error { _, err := e.Client().Get(ctx, "key"); return err },
		"transaction": func(ctx context.Context) error {
			_, err := e.Client().Txn(ctx).If(clientv3.Compare(clientv3.Version("key"), ">", 0)).
				Then(clientv3.OpGet("key")).Else(clientv3.OpGet("other")).Commit()
			return err
		},
		"put": func(ctx context.Context) error { _, err := e.Client().Put(ctx, "key", "value"); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		begin := time.Now()
		err := call(ctx)
		cancel()
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
}

func TestStockLimitsHold(t *testing.T) {
	e := start(t, t.TempDir())
	ops := make([]clientv3.Op, 129)
	for i := range ops {
		ops[i] = clientv3.OpPut(fmt.Sprint(i), "")
	}
	if _, err := e.Client().Txn(t.Context()).Then(ops[:128]...).Commit(); err != nil {
		t.Errorf("128 operations: %v", err)
	}
	if _, err := e.Client().Txn(t.Context()).Then(ops...).Commit(); err == nil {
		t.Error("129 operations are accepted: an external etcd refuses them")
	}
	if _, err := e.Client().Put(t.Context(), "big", strings.Repeat("x", 1400<<10)); err != nil {
		t.Errorf("1400 KiB: %v", err)
	}
	if _, err := e.Client().Put(t.Context(), "bigger", strings.Repeat("x", 1600<<10)); err == nil {
		t.Error("1600 KiB are accepted: an external etcd refuses them")
	}
}

func TestNothingIsReadableByOthers(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	info, err := os.Stat(filepath.Join(dir, "etcd"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Fatalf("the directory has mode %v", info.Mode())
	}
}

func TestALogThatCannotBeReadIsAnError(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir)
	put(t, e, "key", "value")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "etcd", "member", "wal", "*-*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no log found: %v", err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > walSegmentBytes+4096 {
		t.Errorf("the log's first segment has %d bytes", len(data))
	}
	for i := 64; i < 512; i++ {
		data[i] ^= 0x5a
	}
	if err := os.WriteFile(segments[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err = Start(t.Context(), Options{DataDir: dir})
	if err == nil {
		t.Cleanup(func() { _ = e.Close() })
		t.Fatal("a damaged log is accepted")
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not name the directory: %v", err)
	}
}

// Data that a first start did not make is never touched.
func TestOnlyAnInterruptedFirstStartIsBegunAnew(t *testing.T) {
	dir := t.TempDir()
	mark := filepath.Join(dir, "etcd", firstStartFile)
	e := start(t, dir)
	put(t, e, "key", "value")
	if _, err := os.Stat(mark); err == nil {
		t.Fatal("the mark of the first start is still there when etcd is ready")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, interrupted := range []bool{false, true} {
		if interrupted {
			if err := os.WriteFile(mark, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		e := start(t, dir)
		r, err := e.Client().Get(t.Context(), "key")
		if err != nil {
			t.Fatal(err)
		}
		if kept := len(r.Kvs) == 1; kept == interrupted {
			t.Fatalf("first start interrupted: %v, data kept: %v", interrupted, kept)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACancelledStartLeavesTheDirectoryFree(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := Start(ctx, Options{DataDir: dir}); err == nil {
		_ = e.Close() // it was ready at once, which is no failure
	} else if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	start(t, dir)
}

func TestBadDirectoriesAreRefused(t *testing.T) {
	if _, err := Start(t.Context(), Options{}); err == nil {
		t.Error("no directory is accepted")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Options{DataDir: file}); err == nil {
		t.Error("a file is accepted as directory")
	}
}

func TestEtcdLogsToSlog(t *testing.T) {
	var buf waittest.Log // etcd's goroutines write it
	e, err := Start(t.Context(), Options{
		DataDir: t.TempDir(),
		Logger:  slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got := buf.String(); !strings.Contains(got, `"level":"DEBUG","msg":"etcd: `) || !strings.Contains(got, `"cluster-id":"`) {
		t.Fatalf("etcd's messages are not there: %.300s", got)
	}
	if strings.Contains(buf.String(), `"level":"ERROR"`) {
		t.Errorf("an ordinary start and stop logs errors: %s", buf.String())
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	e, err := Start(t.Context(), Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	watch := e.Client().Watch(ctx, "key")
	put(t, e, "key", "value")
	if r := <-watch; len(r.Events) != 1 {
		t.Fatalf("watched %v", r)
	}
	cancel()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

// TestAFullEtcdIsWrittenToAgainAfterReclaim: it is full of old values of one key, or of
// keys that are deleted.
func TestAFullEtcdIsWrittenToAgainAfterReclaim(t *testing.T) {
	e, err := Start(t.Context(), Options{DataDir: t.TempDir(), QuotaBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	value := strings.Repeat("x", 256<<10)
	// Values come side by side: of one alone etcd knows that it has no room for it, and the
	// file would not come to the quota.
	fill := func(key func(i int64) string) (written int64) {
		t.Helper()
		var next, done atomic.Int64
		var all sync.WaitGroup
		// It measures its file ten times a second, which is time for more than the quota.
		deadline := time.Now().Add(time.Minute)
		for range 8 {
			all.Go(func() {
				for time.Now().Before(deadline) {
					if _, err := e.Client().Put(t.Context(), key(next.Add(1)), value); errors.Is(err, rpctypes.ErrNoSpace) {
						return
					} else if err == nil {
						done.Add(1)
					}
				}
			})
		}
		all.Wait()
		if _, err := e.Client().Put(t.Context(), "small", ""); !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Fatalf("a small write to a full etcd: %v", err)
		}
		return done.Load()
	}
	fill(func(int64) string { return "key" })
	if err := e.Reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, e, "small", "")
	fills := 0
	for { // the file had room for some more
		fills++
		more := fill(func(i int64) string { return fmt.Sprintf("key %d of %d", i, fills) })
		if e.Reclaim(t.Context()) != nil {
			break
		}
		if more == 0 { // and has it for less than one: from the beginning
			if _, err := e.Client().Delete(t.Context(), "key", clientv3.WithPrefix()); err != nil {
				t.Fatal(err)
			}
			if err := e.Reclaim(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Also where somebody had etcd write again by hand.
	if _, err := e.Client().AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client().Delete(t.Context(), "key", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if err := e.Reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, e, "small", "")
}
