// Package lifecycletest runs one part of a daemon for a test.
package lifecycletest

import (
	"context"
	"sync"
	"testing"
)

// Run runs a part until stop is called or the test ends; t fails if the part does. stop
// returns when the part has ended, and does nothing a second time: a test that needs it to end
// before something else writes "defer Run(…)()".
func Run(t testing.TB, part func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- part(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}
