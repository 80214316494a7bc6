// Package lifecycle runs the parts of a process: each is a function that returns
// soon after its context ends. They stop in the opposite order of their start,
// each before the next, so that nobody loses what it stands on; a part that ends
// by itself is a failure of the process. One may be ended before the others.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// stopTimeout is what a part gets to stop unless it says otherwise; after it the
// next is stopped anyway.
const stopTimeout = 10 * time.Second

// Parts are the running parts of a process. It belongs to one goroutine.
type Parts struct {
	logger *slog.Logger
	list   []*Part
	failed chan error
}

// Part is one of them.
type Part struct {
	// immutable
	name    string
	timeout time.Duration
	stop    context.CancelFunc
	done    <-chan struct{}
}

// End ends a part before the others, and waits until it has ended. Any goroutine may.
func (p *Part) End() {
	p.stop()
	<-p.done
}

// New makes an empty set.
func New(logger *slog.Logger) *Parts {
	return &Parts{logger: logger, failed: make(chan error, 1)}
}

// Start runs a part.
func (p *Parts) Start(name string, run func(ctx context.Context) error) *Part {
	return p.StartSlow(name, stopTimeout, run)
}

// StartSlow runs a part that may take long to stop.
func (p *Parts) StartSlow(name string, timeout time.Duration, run func(ctx context.Context) error) *Part {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	part := &Part{name, timeout, cancel, done}
	p.list = append(p.list, part)
	go func() {
		defer close(done)
		err := run(ctx)
		switch {
		case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
			return
		case ctx.Err() != nil:
			p.logger.Warn("stopped with an error", "part", name, "error", err)
			return
		case err == nil:
			err = errors.New("it ended by itself")
		}
		select {
		case p.failed <- fmt.Errorf("%s: %w", name, err):
		default: // another one failed first and is the reason
		}
	}()
	return part
}

// Failed gives the first error of a part that ended by itself.
func (p *Parts) Failed() <-chan error { return p.failed }

// Stop stops all parts, the last started first.
func (p *Parts) Stop() {
	for len(p.list) > 0 {
		last := p.list[len(p.list)-1]
		p.list = p.list[:len(p.list)-1]
		last.stop()
		timeout := time.NewTimer(last.timeout)
		select {
		case <-last.done:
			p.logger.Debug("stopped", "part", last.name)
		case <-timeout.C:
			p.logger.Warn("did not stop in time", "part", last.name, "timeout", last.timeout)
		}
		timeout.Stop()
	}
}
