package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

const commitIDBytes = 16

// Meta says who changes what for what reason.
type Meta struct {
	Author, Message string
}

// Commit makes next what is wanted, as the revision after base, if base still
// is. It returns the new configuration, and base itself, writing nothing, if both
// have the same root. base comes from Current, Commit or At.
//
// Errors: ErrConflict if the head moved, ErrTooLarge for a resource of more than
// 256 KiB, ErrFull if etcd has no room, ErrUnknown if etcd could not be asked how it ended. After any other
// error the commit did not and will not take place.
func (s *Store) Commit(ctx context.Context, base Configuration, next tree.Tree, m Meta) (Configuration, error) {
	if next.Root() == base.Root() {
		return base, nil
	}
	c, err := s.prepare(base, next, m)
	if err != nil {
		return Configuration{}, fmt.Errorf("store: commit on revision %d: %w", base.Revision, err)
	}
	at, err := s.commit(ctx, c)
	if err != nil {
		return Configuration{}, fmt.Errorf("store: commit on revision %d: %w", base.Revision, full(err))
	}
	s.remember(next)
	return Configuration{Epoch: base.Epoch, Revision: c.change.GetRevision(), Tree: next, Accepted: base.Accepted, at: at}, nil
}

// candidate is a commit before it took place.
type candidate struct {
	base        Configuration
	next        tree.Tree
	change      *fleetv1.Change
	head        string // encoded
	changeValue string // encoded
}

func (s *Store) prepare(base Configuration, next tree.Tree, m Meta) (*candidate, error) {
	if len(m.Message) > maxMessageBytes {
		return nil, fmt.Errorf("message: %w: %d bytes, at most %d", ErrTooLarge, len(m.Message), maxMessageBytes)
	}
	if len(m.Author) > maxAuthorBytes {
		return nil, fmt.Errorf("author: %w: %d bytes, at most %d", ErrTooLarge, len(m.Author), maxAuthorBytes)
	}
	if err := base.genuine(); err != nil {
		return nil, err
	}
	upserts, removed := tree.Diff(base.Tree, next)
	for _, l := range upserts {
		if len(l.Bytes) > maxResourceBytes {
			return nil, fmt.Errorf("%s: %w: %d bytes, at most %d", l.Key, ErrTooLarge, len(l.Bytes), maxResourceBytes)
		}
	}
	before, after := base.Root(), next.Root()
	id := make([]byte, commitIDBytes)
	_, _ = rand.Read(id) // never fails
	c := &candidate{base: base, next: next, change: &fleetv1.Change{
		Epoch:      base.Epoch,
		Revision:   base.Revision + 1,
		TimeUnixMs: s.options.Now().UnixMilli(),
		Author:     m.Author,
		Message:    m.Message,
		RootBefore: before[:],
		RootAfter:  after[:],
		Upserted:   uint32(len(upserts)),
		Removed:    uint32(len(removed)),
		CommitId:   id,
	}}
	for _, blob := range next.Added(base.Tree) {
		c.change.BlobBytes += uint64(len(blob)) + blobOverhead
	}
	var err error
	if c.changeValue, err = marshal(c.change); err != nil {
		return nil, fmt.Errorf("change record: %w", err)
	}
	c.head, err = marshal(&fleetv1.Head{Epoch: base.Epoch, Revision: c.change.GetRevision(), Root: after[:]})
	return c, err
}

// genuine holds that the tree is the one of the position: only what differs from
// it will be written.
func (s Configuration) genuine() error {
	if s.at == (position{}) {
		return nil // locate will compare
	}
	head, root := &fleetv1.Head{}, s.Root()
	if err := proto.Unmarshal([]byte(s.at.value), head); err != nil {
		return err
	}
	if !bytes.Equal(head.GetRoot(), root[:]) {
		return errors.New("the base's tree is not the one that was read")
	}
	return nil
}

// commit writes the blobs and moves the head. It begins again if the base is
// still what is wanted, but a sweep began since its blobs were written or the
// head was written anew with the same value.
func (s *Store) commit(ctx context.Context, c *candidate) (position, error) {
	at := c.base.at
	if at == (position{}) {
		var err error
		if at, err = s.locate(ctx, c.base); err != nil {
			return position{}, err
		}
	}
	if err := s.roomFor(ctx, int64(c.change.GetBlobBytes())); err != nil { //nolint:gosec // of what is in memory
		return position{}, err
	}
	written := false
	for range casAttempts {
		if !written {
			if err := s.putBlobs(ctx, c.next.Added(c.base.Tree), secretsAmong(c.base.Tree, c.next)); err != nil {
				return position{}, fmt.Errorf("blobs: %w", err)
			}
		}
		won, now, err := s.swap(ctx, c, at)
		if err != nil || won {
			return now, err
		}
		if now.value != at.value {
			return position{}, ErrConflict
		}
		written = now.sweep == at.sweep
		at = now
	}
	return position{}, ErrConflict
}

// locate finds the position of a configuration that came from the history.
func (s *Store) locate(ctx context.Context, base Configuration) (position, error) {
	h, err := s.readHead(ctx)
	if err != nil {
		return position{}, err
	}
	root := base.Root()
	if h.head == nil || h.head.GetEpoch() != base.Epoch || h.head.GetRevision() != base.Revision ||
		!bytes.Equal(h.head.GetRoot(), root[:]) {
		return position{}, ErrConflict
	}
	return h.at, nil
}

// swap is the transaction. It returns the new position of the head if it won,
// and else where the head is.
func (s *Store) swap(ctx context.Context, c *candidate, at position) (won bool, now position, err error) {
	r, err := s.kv.Txn(ctx).
		If(
			clientv3.Compare(clientv3.ModRevision(s.keys.head()), "=", at.head),
			clientv3.Compare(clientv3.Value(s.keys.head()), "=", at.value),
			clientv3.Compare(clientv3.ModRevision(s.keys.sweep()), "=", at.sweep),
		).
		Then(
			clientv3.OpPut(s.keys.head(), c.head),
			clientv3.OpPut(s.keys.change(c.change.GetRevision()), c.changeValue),
		).
		Else(clientv3.OpGet(s.keys.head()), clientv3.OpGet(s.keys.sweep())).
		Commit()
	switch {
	case err != nil && code(err) == codes.InvalidArgument: // etcd did not try
		return false, position{}, err
	case err != nil:
		now, err = s.outcome(ctx, c, at, err)
		return err == nil, now, err
	case r.Succeeded:
		return true, position{head: r.Header.GetRevision(), value: c.head, sweep: at.sweep}, nil
	}
	h, err := headOf(r)
	return false, h.at, err
}

// Unreachable says that an error is etcd's, whose connection is not there or broke.
func Unreachable(err error) bool { return code(err) == codes.Unavailable }

// code is the gRPC code of an error of etcd's client, which has types of its
// own.
func code(err error) codes.Code {
	var coded interface{ Code() codes.Code }
	if errors.As(err, &coded) {
		return coded.Code()
	}
	return status.Code(err)
}

// outcome finds out how a transaction ended whose answer was lost. It may not
// have ended yet: so if it did not win so far, the head is written anew with the
// value that it has, after which the transaction's comparison fails for good. It
// returns nil if the commit took place.
//
// An etcd that runs full says so after it applied the transaction, or instead:
// that is an answer, which needs no fence and would not get one.
func (s *Store) outcome(ctx context.Context, c *candidate, at position, cause error) (position, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.outcomeTimeout)
	defer cancel()
	for range casAttempts {
		r, err := s.kv.Txn(ctx).Then(
			clientv3.OpGet(s.keys.head()), clientv3.OpGet(s.keys.sweep()),
			clientv3.OpGet(s.keys.change(c.change.GetRevision())),
		).Commit()
		if err != nil {
			return position{}, unknown(c, cause, err)
		}
		if kvs := r.Responses[2].GetResponseRange().GetKvs(); len(kvs) == 1 {
			found := &fleetv1.Change{}
			if err := proto.Unmarshal(kvs[0].Value, found); err != nil {
				return position{}, unknown(c, cause, fmt.Errorf("%w: change record: %w", ErrDamaged, err))
			}
			if bytes.Equal(found.GetCommitId(), c.change.GetCommitId()) {
				// Head and record were written at one revision of etcd.
				return position{head: kvs[0].ModRevision, value: c.head, sweep: at.sweep}, nil
			}
		}
		h, err := headOf(r)
		if err != nil {
			return position{}, unknown(c, cause, err)
		}
		if h.at.value != at.value {
			return position{}, fmt.Errorf("%w (after %w)", ErrConflict, cause)
		}
		if code(cause) == codes.ResourceExhausted {
			return position{}, fmt.Errorf("not applied: %w", cause)
		}
		fence, err := s.kv.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(s.keys.head()), "=", h.at.head)).
			Then(clientv3.OpPut(s.keys.head(), h.at.value)).
			Commit()
		if err != nil {
			return position{}, unknown(c, cause, err)
		}
		if fence.Succeeded {
			return position{}, fmt.Errorf("not applied: %w", cause)
		}
	}
	return position{}, unknown(c, cause, errors.New("the head does not stand still"))
}

func unknown(c *candidate, cause, err error) error {
	return fmt.Errorf("%w: commit %x: %w; then: %w", ErrUnknown, c.change.GetCommitId(), cause, err)
}
