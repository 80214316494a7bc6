package tickets

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/controlplane/bell"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// memory is a store in memory.
type memory struct {
	news bell.Bell

	mu     sync.Mutex
	record *fleetv1.TicketKeyRecord
	seen   int64
	fail   error
	most   int64 // writes that it takes; 0: any
}

func (m *memory) TicketKeys(context.Context) (*fleetv1.TicketKeyRecord, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.seen, m.fail
	}
	if m.record == nil {
		return nil, 0, nil
	}
	return proto.CloneOf(m.record), m.seen, nil
}

func (m *memory) PutTicketKeys(_ context.Context, r *fleetv1.TicketKeyRecord, seen int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if seen != m.seen {
		return store.ErrConflict
	}
	if m.most > 0 && m.seen >= m.most {
		return errors.New("too many writes")
	}
	m.record, m.fail = proto.CloneOf(r), nil
	m.seen++
	m.news.Ring()
	return nil
}

func (m *memory) WatchTicketKeys(ctx context.Context) <-chan struct{} { return m.news.Listen(ctx) }

// replica is a running Rotator with what it published.
type replica struct {
	mu   sync.Mutex
	keys []*fleetv1.TicketKeys
}

func run(ctx context.Context, m *memory, logs *bytes.Buffer) *replica {
	return runAt(ctx, 0, m, logs)
}

// runAt is run of a replica whose clock is wrong.
func runAt(ctx context.Context, ahead time.Duration, m *memory, logs *bytes.Buffer) *replica {
	r := &replica{}
	now := func() time.Time { return time.Now().Add(ahead) }
	rotator := New(Config{Store: m, Now: now, Logger: slog.New(slog.NewTextHandler(logs, nil)), Publish: func(k *fleetv1.TicketKeys) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.keys = append(r.keys, k)
	}})
	go func() { _ = rotator.Run(ctx) }()
	return r
}

func (r *replica) published() []*fleetv1.TicketKeys {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.keys)
}

func TestEveryKeyIsKnownForARotationBeforeAndAfterItIssues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m, logs := &memory{}, &bytes.Buffer{}
		a, b := run(ctx, m, logs), run(ctx, m, logs)
		synctest.Wait()
		for range 5 {
			time.Sleep(Life)
			synctest.Wait()
		}
		all := a.published()
		if len(all) != 6 || len(b.published()) != 6 {
			t.Fatalf("%d and %d sets of keys in 5 rotations, want 6", len(all), len(b.published()))
		}
		for i, set := range all {
			if !proto.Equal(set, b.published()[i]) {
				t.Errorf("rotation %d: the replicas publish different keys", i)
			}
			if want := min(2+i, 3); len(set.GetKeys()) != want {
				t.Errorf("rotation %d: %d keys, want %d", i, len(set.GetKeys()), want)
			}
			for j, other := range set.GetKeys() {
				if slices.ContainsFunc(set.GetKeys()[:j], func(k []byte) bool { return bytes.Equal(k, other) }) {
					t.Errorf("rotation %d: a key stands twice", i)
				}
				if bytes.Contains(logs.Bytes(), other) {
					t.Error("a key was logged")
				}
			}
			if i == 0 {
				continue
			}
			before := all[i-1].GetKeys()
			if !bytes.Equal(set.GetKeys()[0], before[1]) || !bytes.Equal(set.GetKeys()[2], before[0]) || set.GetRevision() <= all[i-1].GetRevision() {
				t.Errorf("rotation %d: the current key was not the next one before, or the one before is not kept", i)
			}
		}
		cancel()
		synctest.Wait()
	})
}

func TestAReplicaThatStartsTakesTheKeysThatAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := &memory{}
		a := run(ctx, m, &bytes.Buffer{})
		time.Sleep(Life / 2)
		b := run(ctx, m, &bytes.Buffer{})
		synctest.Wait()
		if len(a.published()) != 1 || len(b.published()) != 1 || !proto.Equal(a.published()[0], b.published()[0]) {
			t.Error("the second replica has other keys")
		}
		time.Sleep(Life / 2)
		synctest.Wait()
		if len(b.published()) != 2 {
			t.Errorf("%d sets after a life, want 2", len(b.published()))
		}
		cancel()
		synctest.Wait()
	})
}

func TestKeysThatCannotBeReadAreReplacedAndAStoreThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := &memory{fail: errors.New("no answer")}
		a := run(ctx, m, &bytes.Buffer{})
		synctest.Wait()
		if len(a.published()) != 0 {
			t.Fatal("keys from nowhere")
		}
		m.mu.Lock()
		m.fail, m.seen = store.ErrDamaged, 9
		m.mu.Unlock()
		time.Sleep(2 * retry)
		synctest.Wait()
		if len(a.published()) != 1 {
			t.Error("no keys in place of damaged ones")
		}
		cancel()
		synctest.Wait()
	})
}

// TestReplicasWhoseClocksDifferByMoreThanALifeRotateAsOne: one began without NTP.
func TestReplicasWhoseClocksDifferByMoreThanALifeRotateAsOne(t *testing.T) {
	for _, ahead := range []time.Duration{-10 * Life, 10 * Life} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			m := &memory{most: 50} // else it would not end
			a := run(ctx, m, &bytes.Buffer{})
			b := runAt(ctx, ahead, m, &bytes.Buffer{})
			time.Sleep(4*Life + time.Minute)
			synctest.Wait()
			if n := len(a.published()); n < 4 || n > 7 {
				t.Errorf("a clock that is %v ahead: %d sets of keys in four lives", ahead, n)
			}
			if x, y := a.published(), b.published(); !proto.Equal(x[len(x)-1], y[len(y)-1]) {
				t.Errorf("a clock that is %v ahead: the replicas have different keys", ahead)
			}
			cancel()
			synctest.Wait()
		})
	}
}

func TestARecordOfAWrongClockIsReplaced(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	record := func(at time.Time, n int) *fleetv1.TicketKeyRecord {
		r := &fleetv1.TicketKeyRecord{Revision: uint64(now.UnixMilli()) + 5, RotatedAtUnixMs: at.UnixMilli()}
		for range n {
			r.Keys = append(r.Keys, newKey())
		}
		return r
	}
	for name, c := range map[string]struct {
		record *fleetv1.TicketKeyRecord
		known  time.Duration
		due    bool
	}{
		"none":                 {nil, 0, true},
		"young":                {record(now.Add(-Life+time.Second), 3), 2 * Life, false},
		"old":                  {record(now.Add(-Life), 3), 0, true},
		"a little ahead":       {record(now.Add(time.Hour), 3), time.Hour, false},
		"far ahead":            {record(now.Add(1000*time.Hour), 3), Life, false},
		"far ahead for a life": {record(now.Add(1000*time.Hour), 3), Life + grace, true},
		"one key":              {record(now, 1), 0, true},
		"a short key":          {&fleetv1.TicketKeyRecord{RotatedAtUnixMs: now.UnixMilli(), Keys: [][]byte{{1}, {2}}}, 0, true},
	} {
		next, _ := step(c.record, now, c.known)
		due := next != nil
		if due != c.due || due && (valid(next) != nil || next.GetRevision() <= c.record.GetRevision()) {
			t.Errorf("%s: due %v, then %d keys of revision %d", name, due, len(next.GetKeys()), next.GetRevision())
		}
	}
}
