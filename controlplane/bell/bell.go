package bell

import (
	"context"
	"sync"

	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// Bell is rung by one side and heard by the other.
type Bell struct {
	mu        sync.Mutex
	listeners map[wakeup.Signal]struct{} // guarded by mu
}

// Listen gives a token for the rings from now on. The channel is closed when ctx ends.
func (b *Bell) Listen(ctx context.Context) <-chan struct{} {
	l := wakeup.NewSignal()
	b.mu.Lock()
	if b.listeners == nil {
		b.listeners = map[wakeup.Signal]struct{}{}
	}
	b.listeners[l] = struct{}{}
	b.mu.Unlock()
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.listeners, l)
		close(l)
	})
	return l
}

// Ring tells all who listen to look again.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.listeners {
		l.Send()
	}
}
