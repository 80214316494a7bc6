package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// stopTimeout is what one part gets to stop; after it the next is stopped anyway.
const stopTimeout = 10 * time.Second

// parts are the running parts of the process, in the order in which they were
// started. They stop in the opposite order, each before the next, so that nobody
// loses what it stands on.
type parts struct {
	logger *slog.Logger
	list   []part
	// failed has the first error of a part that ended by itself.
	failed chan error
}

type part struct {
	name string
	stop context.CancelFunc
	done <-chan struct{}
}

func newParts(logger *slog.Logger) *parts {
	return &parts{logger: logger, failed: make(chan error, 1)}
}

// start runs a part. run returns soon after its context ends; that it returns
// earlier is a failure of the process.
func (p *parts) start(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	p.list = append(p.list, part{name, cancel, done})
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
}

// stop stops all parts, the last started first.
func (p *parts) stop() {
	for len(p.list) > 0 {
		last := p.list[len(p.list)-1]
		p.list = p.list[:len(p.list)-1]
		last.stop()
		select {
		case <-last.done:
			p.logger.Debug("stopped", "part", last.name)
		case <-time.After(stopTimeout):
			p.logger.Warn("did not stop in time", "part", last.name, "timeout", stopTimeout)
		}
	}
}
