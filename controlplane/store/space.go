package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

const (
	// shortParts: with no more than one of so many parts of the quota left, garbage is
	// collected whatever its age.
	shortParts = 4
	// reserveParts: one of so many parts of the quota is for those who make room, since
	// a collection of garbage writes too, and for what is no configuration.
	reserveParts = 8
	// historyParts: one of so many parts of the quota is the most that the history takes.
	historyParts = 4
	// blobOverhead is what a blob's key, its envelope and etcd add to it, about.
	blobOverhead = 256
	// statusTimeout bounds the question to one member of etcd.
	statusTimeout = 2 * time.Second
)

// Space is what etcd's database takes, in bytes: of the member that has most in use, of
// those that answer.
type Space struct {
	File  int64 // what is free in it included
	InUse int64
	Quota int64 // etcd writes nothing once the file is as large; 0: it does not tell
	// Full: it came to that. It lasts until the alarm is disarmed.
	Full bool
	// Refused: a change was refused for want of room since garbage was collected last.
	Refused bool
}

// Short says whether it is time to make room.
func (s Space) Short() bool {
	return s.Full || s.Refused || s.Quota > 0 && s.InUse >= s.Quota-s.Quota/shortParts
}

// takes says whether the configuration may grow by so many bytes.
func (s Space) takes(bytes int64) bool {
	return s.Quota <= 0 || s.InUse+bytes < s.Quota-s.Quota/reserveParts
}

// String is for people.
func (s Space) String() string {
	const mib = 1 << 20
	if s.Quota <= 0 {
		return fmt.Sprintf("%d MiB in use", s.InUse/mib)
	}
	return fmt.Sprintf("%d of %d MiB in use", s.InUse/mib, s.Quota/mib)
}

// Space asks etcd's members. It fails if none answers.
func (s *Store) Space(ctx context.Context) (Space, error) {
	endpoints := s.client.Endpoints()
	if len(endpoints) == 0 {
		endpoints = []string{""} // an etcd in this process
	}
	var most Space
	var failed []error
	for _, endpoint := range endpoints {
		asking, cancel := context.WithTimeout(ctx, statusTimeout)
		r, err := s.client.Status(asking, endpoint)
		cancel()
		if err != nil {
			failed = append(failed, err)
			continue
		}
		full := slices.ContainsFunc(r.Errors, func(alarm string) bool { return strings.Contains(alarm, "NOSPACE") })
		if full = full || most.Full; r.DbSizeInUse >= most.InUse {
			most = Space{File: r.DbSize, InUse: r.DbSizeInUse, Quota: r.DbSizeQuota}
		}
		most.Full = full
	}
	if len(failed) == len(endpoints) {
		return Space{}, fmt.Errorf("store: space: %w", errors.Join(failed...))
	}
	s.mu.Lock()
	s.space, s.written = most, 0
	most.Refused = s.refused
	s.mu.Unlock()
	return most, nil
}

// Refusals says that a change was refused for want of room, coalesced. It is for one
// reader.
func (s *Store) Refusals() <-chan struct{} { return s.refusals }

// roomFor refuses a commit of so many bytes that would leave no room to make room. It
// asks etcd only where what is known says so; what nobody knows etcd decides.
func (s *Store) roomFor(ctx context.Context, bytes int64) error {
	if s.claim(bytes) {
		return nil
	}
	now, err := s.Space(ctx)
	if err != nil {
		return nil //nolint:nilerr // etcd itself will say
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !now.takes(bytes) {
		s.refused = true
		s.refusals.Send()
		return fmt.Errorf("%w: %s, and the change takes %d KiB: see the warnings of proxyctl status", ErrFull, now, bytes>>10)
	}
	s.written += bytes
	return nil
}

// claim notes that so many bytes will be written, if there is room for them by what is known.
func (s *Store) claim(bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.space.takes(s.written + bytes) {
		return false
	}
	s.written += bytes
	return true
}

// full names etcd's own error of that kind.
func full(err error) error {
	if errors.Is(err, rpctypes.ErrNoSpace) || errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
