package attack

import (
	"context"
	"sync"
	"time"
)

// Turns lets a run go on in turns: between them nothing is sent and no connection is opened,
// while those that are open stay. So what others see with an attack can be held against what
// they see without it a moment before and after. It begins between two turns.
type Turns struct {
	mu    sync.Mutex
	open  chan struct{} // closed while it is a turn
	since time.Time     // when the turn began; zero between two
	spent time.Duration // in the turns before
}

// NewTurns is for one run.
func NewTurns() *Turns { return &Turns{open: make(chan struct{})} }

// Begin begins a turn.
func (t *Turns) Begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		t.since = time.Now()
		close(t.open)
	}
}

// End ends it.
func (t *Turns) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.since.IsZero() {
		t.spent += time.Since(t.since)
		t.since, t.open = time.Time{}, make(chan struct{})
	}
}

// Elapsed is how long all turns lasted so far.
func (t *Turns) Elapsed() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return t.spent
	}
	return t.spent + time.Since(t.since)
}

// wait waits for a turn, if it is none, or for the end of a connection.
func (t *Turns) wait(ctx context.Context, l *listener) {
	t.mu.Lock()
	open := t.open
	t.mu.Unlock()
	var told, ended chan struct{}
	if l != nil {
		told, ended = l.told, l.ended
	}
	select {
	case <-open:
	case <-ctx.Done():
	case <-told:
	case <-ended:
	}
}
