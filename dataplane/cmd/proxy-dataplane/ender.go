package main

import (
	"context"
	"sync"
)

// ender ends one part of the process before the others.
type ender struct {
	once  sync.Once
	asked chan struct{}
	ended chan struct{}
}

func newEnder() *ender {
	return &ender{asked: make(chan struct{}), ended: make(chan struct{})}
}

// wrap makes the part one that waits for its context when it was ended before.
func (e *ender) wrap(run func(ctx context.Context) error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-e.asked:
				cancel()
			case <-inner.Done():
			}
		}()
		err := run(inner)
		close(e.ended)
		if inner.Err() == nil || err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
}

// end ends the part, which was started, and waits until it has.
func (e *ender) end() {
	e.once.Do(func() { close(e.asked) })
	<-e.ended
}
