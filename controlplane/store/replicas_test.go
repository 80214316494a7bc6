package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestWhatAControlPlaneTellsGoesWithItsLease(t *testing.T) {
	prefix := newPrefix(t)
	a, b := open(t, prefix, nil), open(t, prefix, nil)
	ctx, cancel := context.WithCancel(t.Context())
	signals := b.WatchTold(ctx)
	defer func() {
		cancel()
		for range signals {
		}
	}()
	await(t, signals)
	lease, err := a.Lease(ctx, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	written, err := a.Tell(ctx, lease, map[string][]byte{"a/one": []byte("1"), "a/two": {}, "a/none": nil})
	if err != nil || len(written) != 3 {
		t.Fatal(written, err)
	}
	await(t, signals)
	told, err := b.AllTold(ctx, nil)
	if err != nil || len(told) != 2 || string(told["a/one"].Value) != "1" || told["a/two"].Value == nil || told["a/one"].Revision != written["a/one"] || told["a/one"].Lease != lease {
		t.Fatalf("%+v, %v", told, err)
	}
	if _, err := a.Tell(ctx, lease, map[string][]byte{"a/two": nil, "a/three": []byte("3")}); err != nil {
		t.Fatal(err)
	}
	told, err = b.AllTold(ctx, map[string]int64{"a/one": written["a/one"], "a/three": 1})
	if err != nil || len(told) != 2 || told["a/one"].Value != nil || told["a/one"].Revision != written["a/one"] || string(told["a/three"].Value) != "3" {
		t.Fatalf("%+v, %v", told, err)
	}
	if err := a.KeepLease(ctx, lease); err != nil {
		t.Error(err)
	}
	if err := a.EndLease(ctx, lease); err != nil {
		t.Error(err)
	}
	if told, err := b.AllTold(ctx, nil); err != nil || len(told) != 0 {
		t.Errorf("%+v, %v", told, err)
	}
	if err := a.KeepLease(ctx, lease); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := a.Tell(ctx, lease, map[string][]byte{"a/one": []byte("1")}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestAControlPlaneTellsMoreThanARequestHolds of etcd, and reads it.
func TestAControlPlaneTellsMoreThanARequestHolds(t *testing.T) {
	s := open(t, newPrefix(t), nil)
	lease, err := s.Lease(t.Context(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]byte{"a/large": bytes.Repeat([]byte("x"), maxTold)}
	for i := range 3 * batchOps {
		values[fmt.Sprintf("a/%03d", i)] = bytes.Repeat([]byte{byte(i)}, 8<<10)
	}
	written, err := s.Tell(t.Context(), lease, values)
	if err != nil || len(written) != len(values) {
		t.Fatalf("%d are written of %d: %v", len(written), len(values), err)
	}
	told, err := s.AllTold(t.Context(), nil)
	if err != nil || len(told) != len(values) {
		t.Fatalf("%d are told of %d: %v", len(told), len(values), err)
	}
	for name, value := range values {
		if !bytes.Equal(told[name].Value, value) || told[name].Revision != written[name] {
			t.Errorf("%s is another", name)
		}
	}
	if _, err := s.Tell(t.Context(), lease, map[string][]byte{"a/larger": make([]byte, maxTold+1)}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func TestNothingIsToldWhereChangesHaveNoRoom(t *testing.T) {
	s := open(t, newPrefix(t), nil)
	if _, err := s.Space(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.roomToTell(t.Context(), 1<<20); err != nil {
		t.Error(err)
	}
	if err := s.roomToTell(t.Context(), 1<<40); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
}
