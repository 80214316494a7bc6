package embedded

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
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
	backend, full := e.etcd.Server.Backend(), e.alarms()
	// What was compacted just now does not all count as free yet.
	size := backend.Size()
	if len(full) > 0 || size >= e.quota || size-backend.SizeInUse() >= size/defragFraction {
		if err := e.etcd.Server.Defragment(); err != nil {
			return err
		}
	}
	if backend.Size() >= e.quota {
		return fmt.Errorf("%d bytes are in use, and the quota is %d", backend.SizeInUse(), e.quota)
	}
	for _, alarm := range full {
		if _, err := e.client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: alarm.GetMemberID(), Alarm: alarm.GetAlarm()}); err != nil {
			return err
		}
	}
	return nil
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
