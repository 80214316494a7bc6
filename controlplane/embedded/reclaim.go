package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/backend"

	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// defragFraction is the part of the file that must be free for it to be written anew:
// meanwhile etcd answers nobody, for as long as the disk takes what is in use: 45 s a GiB
// were measured on a busy one.
const defragFraction = 4

// Reclaim makes room: it forgets the old values of keys at once, writes the file anew
// if a quarter of it is free then or it came to the quota, and lets a full etcd write again. It
// returns an error if the file is as large as the quota still: only whoever deletes keys
// helps then, which etcd allows. It must not be called after Close.
func (e *Etcd) Reclaim(ctx context.Context) error {
	if err := e.reclaim(ctx); err != nil {
		return fmt.Errorf("embedded etcd: making room: %w", err)
	}
	return nil
}

func (e *Etcd) reclaim(ctx context.Context) error {
	now, err := e.client.Get(ctx, "revision", clientv3.WithCountOnly()) // of any key
	if err != nil {
		return err
	}
	_, err = e.client.Compact(ctx, now.Header.GetRevision(), clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return err
	}
	db, full := e.etcd.Server.Backend(), e.alarms()
	settle(ctx, db)
	size := db.Size()
	if len(full) > 0 || size >= e.quota || size-db.SizeInUse() >= size/defragFraction {
		if err := e.etcd.Server.Defragment(); err != nil {
			return err
		}
	}
	if db.Size() >= e.quota {
		return fmt.Errorf("%d bytes are in use, and the quota is %d", db.SizeInUse(), e.quota)
	}
	for _, alarm := range full {
		if _, err := e.client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: alarm.GetMemberID(), Alarm: alarm.GetAlarm()}); err != nil {
			return err
		}
	}
	return nil
}

const (
	// settles is how many commits it takes until what was compacted counts as free: one
	// writes it, one more finds that nobody reads what it took the place of, and one is spare.
	settles = 3
	// settleEvery lets those who read come to an end.
	settleEvery = 20 * time.Millisecond
)

// settle has what was compacted counted as free. etcd commits by itself only when there is
// something to write, so that an idle one would call itself full for as long as it is idle.
func settle(ctx context.Context, b backend.Backend) {
	for range settles {
		b.ForceCommit()
		if !wakeup.After(ctx, settleEvery) {
			return
		}
	}
}

// alarms are those by which etcd says that it is full, and writes nothing.
func (e *Etcd) alarms() (full []*etcdserverpb.AlarmMember) {
	for _, alarm := range e.etcd.Server.Alarms() {
		if alarm.GetAlarm() == etcdserverpb.AlarmType_NOSPACE {
			full = append(full, alarm)
		}
	}
	return full
}
