package feed

import "context"

// Resume makes a feed that has not run yet go on for another process of its node,
// under that one's boot id, so that it is not refused as a second machine. What
// Config.Boot says is put into force at once; control planes are asked when begin
// is closed, which should be after the other process's stream has ended.
func (f *Feed) Resume(bootID string, begin <-chan struct{}) {
	f.bootID = bootID
	f.note(func(s *State) { s.BootID = bootID })
	connect := f.connect
	f.connect = func(ctx context.Context, address string) (link, error) {
		select {
		case <-begin:
			return connect(ctx, address)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
