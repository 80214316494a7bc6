package store

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

func TestTheExpectedListIsReplacedOnlyAsItWasSeen(t *testing.T) {
	prefix := newPrefix(t)
	s, other := open(t, prefix, nil), open(t, prefix, nil)
	ctx := t.Context()
	if list, seen, err := s.ExpectedList(ctx); err != nil || list != nil || seen != 0 {
		t.Fatalf("of an empty store: %v at %d, %v", list, seen, err)
	}
	signals := other.WatchNodes(ctx)
	await(t, signals)
	first := &fleetv1.ListRecord{Revision: 1, Lineage: 9, Members: []string{"a"}}
	if err := s.PutExpectedList(ctx, first, 0); err != nil {
		t.Fatal(err)
	}
	await(t, signals) // other replicas look at once
	if err := other.PutExpectedList(ctx, first, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("two replicas made the first list: %v", err)
	}
	_, before, err := s.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, seen, err := other.ExpectedList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	second := &fleetv1.ListRecord{Revision: 2, Lineage: 9, Members: []string{"a", "b"}, Before: []string{"a"}}
	if err := other.PutExpectedList(ctx, second, seen); err != nil {
		t.Fatal(err)
	}
	if err := s.PutExpectedList(ctx, second, seen); !errors.Is(err, ErrConflict) {
		t.Errorf("two replicas made one step: %v", err)
	}
	got, _, err := s.ExpectedList(ctx)
	if diff := cmp.Diff(second, got, protocmp.Transform()); err != nil || diff != "" {
		t.Error(diff, err)
	}
	if _, after, err := s.Nodes(ctx); err != nil || after <= before {
		t.Errorf("the fleet's revision is %d after %d: nodes would not hear of the list", after, before)
	}
}
