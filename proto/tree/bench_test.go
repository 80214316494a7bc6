package tree

import (
	"testing"
	"time"
)

// The promise is less than 20 µs, root included.
func BenchmarkSetAmong100000(b *testing.B) {
	t := build(100_000)
	t.Root()
	bodies := [][]byte{make([]byte, 300), make([]byte, 301)}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		t = t.Set(routeKey(i%100_000), bodies[i/100_000%2])
		t.Root()
		i++
	}
}

// The promise is less than 50 µs.
func BenchmarkDiffOfOneAmong100000(b *testing.B) {
	t := build(100_000)
	t.Root()
	u := t.Set(routeKey(4711), []byte("changed"))
	u.Root()
	b.ReportAllocs()
	for b.Loop() {
		if upserts, _ := Diff(t, u); len(upserts) != 1 {
			b.Fatal("not one upsert")
		}
	}
}

func BenchmarkGetAmong100000(b *testing.B) {
	t := build(100_000)
	k := routeKey(4711)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := t.Get(k); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkBuild100000(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		build(100_000).Root()
	}
}

func BenchmarkLoad100000(b *testing.B) {
	t := build(100_000)
	stored := blobs{}
	stored.store(b, t)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(t.Root(), stored.get); err != nil {
			b.Fatal(err)
		}
	}
}

// Twice the promises, since a test may share its machine; the best of a few
// rounds, since it may be interrupted.
func TestPromisedSpeed(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("the figures are those of an ordinary build")
	}
	tr := build(100_000)
	tr.Root()
	const rounds, sets = 5, 1000
	set, diff := time.Hour, time.Hour
	for range rounds {
		start := time.Now()
		u := tr
		for i := range sets {
			u = u.Set(routeKey(i*97), []byte("changed"))
			u.Root()
		}
		set = min(set, time.Since(start)/sets)
		one := tr.Set(routeKey(4711), []byte("changed"))
		one.Root()
		start = time.Now()
		if upserts, removed := Diff(tr, one); len(upserts) != 1 || len(removed) != 0 {
			t.Fatalf("the diff of one change has %d upserts and %d removed", len(upserts), len(removed))
		}
		diff = min(diff, time.Since(start))
	}
	t.Logf("among 100,000: set %v, diff of one %v", set, diff)
	if set > 40*time.Microsecond {
		t.Errorf("a set among 100,000 takes %v", set)
	}
	if diff > 100*time.Microsecond {
		t.Errorf("the diff of one among 100,000 takes %v", diff)
	}
}
