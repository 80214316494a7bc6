package fleetstate

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

func state(revision uint64, first ...byte) *fleetv1.FleetState {
	keys := &fleetv1.TicketKeys{Revision: revision}
	for _, b := range first {
		keys.Keys = append(keys.Keys, bytes.Repeat([]byte{b}, TicketKeyBytes))
	}
	return &fleetv1.FleetState{TicketKeys: keys}
}

func TestOnlyNewerTicketKeysComeIntoForceAndTheyOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	key, err := seal.OpenFile(filepath.Join(dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	var first []byte // of each set that came into force
	set := func(keys [][TicketKeyBytes]byte) { first = append(first, keys[0][0]) }
	k := NewTicketKeys(set, logger)
	k.Remember(lastgood.OpenTickets(dir, key, logger))
	k.Take(&fleetv1.FleetState{}) // a control plane that has none
	k.Take(state(5, 'a', 'b'))
	k.Take(state(5, 'x', 'b'))
	k.Take(state(4, 'o', 'a'))
	k.Take(state(6))
	k.Take(&fleetv1.FleetState{TicketKeys: &fleetv1.TicketKeys{Revision: 7, Keys: [][]byte{{1}}}})
	k.Take(state(8, 'b', 'c', 'a'))
	if string(first) != "ab" {
		t.Errorf("in force came %q, want a and then b", first)
	}
	if err := k.file.Write(k.inForce); err != nil {
		t.Fatal(err)
	}
	first = nil
	NewTicketKeys(set, logger).Remember(lastgood.OpenTickets(dir, key, logger))
	if string(first) != "b" {
		t.Errorf("after a restart came %q, want b", first)
	}
	if bytes.Contains(log.Bytes(), []byte("bbbb")) {
		t.Error("a key was logged")
	}
}

// TestTicketKeysAreKeptWhenTheDiskHasRoomAgain, without others coming.
func TestTicketKeysAreKeptWhenTheDiskHasRoomAgain(t *testing.T) {
	dir, free := fullDisk(t)
	key, err := seal.OpenFile(filepath.Join(t.TempDir(), "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	synctest.Test(t, func(t *testing.T) {
		k := NewTicketKeys(func([][TicketKeyBytes]byte) {}, logger)
		k.Remember(lastgood.OpenTickets(dir, key, logger))
		lifecycletest.Run(t, k.Run)
		k.Take(state(5, 'a', 'b'))
		synctest.Wait()
		free()
		time.Sleep(2 * keepRetry)
		if kept := lastgood.OpenTickets(dir, key, logger).Load(); kept.GetRevision() != 5 {
			t.Errorf("kept: revision %d", kept.GetRevision())
		}
	})
}

// TestTicketKeysOfAClockThatWasAheadDoNotStayForYears, where the store that had them is lost:
// the one after it numbers its keys by the time that it is.
func TestTicketKeysOfAClockThatWasAheadDoNotStayForYears(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	at := func(ahead time.Duration) uint64 { return uint64(now.Add(ahead).UnixMilli()) }
	var first []byte // of each set that came into force
	k := NewTicketKeys(func(keys [][TicketKeyBytes]byte) { first = append(first, keys[0][0]) }, slog.New(slog.DiscardHandler))
	k.Take(state(at(9*365*24*time.Hour), 'a', 'b'))
	k.Take(state(at(0), 'c', 'd'))
	k.Take(state(at(-time.Hour), 'e', 'c')) // of a replica that lags
	k.Take(state(at(12*time.Hour), 'd', 'f', 'c'))
	if string(first) != "acd" {
		t.Errorf("in force came %q, want a, c and d", first)
	}
}
