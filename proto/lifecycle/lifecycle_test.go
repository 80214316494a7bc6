package lifecycle_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/lifecycle"
)

func TestPartsStopInTheOppositeOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []string
		p := lifecycle.New(slog.New(slog.DiscardHandler))
		for _, name := range []string{"a", "b", "c"} {
			p.Start(name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second)
				ended = append(ended, name)
				return ctx.Err()
			})
		}
		p.Stop()
		if !slices.Equal(ended, []string{"c", "b", "a"}) {
			t.Errorf("%v", ended)
		}
	})
}

func TestAPartThatEndsByItselfIsAFailure(t *testing.T) {
	p := lifecycle.New(slog.New(slog.DiscardHandler))
	p.Start("good", func(ctx context.Context) error { <-ctx.Done(); return nil })
	p.Start("bad", func(context.Context) error { return errors.New("boom") })
	if err := <-p.Failed(); !strings.Contains(err.Error(), "bad: boom") {
		t.Errorf("%v", err)
	}
	p.Stop()
}

func TestAPartCanBeEndedBeforeTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []string
		p := lifecycle.New(slog.New(slog.DiscardHandler))
		start := func(name string) *lifecycle.Part {
			return p.Start(name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second)
				ended = append(ended, name)
				return nil
			})
		}
		first, _ := start("a"), start("b")
		first.End()
		if !slices.Equal(ended, []string{"a"}) {
			t.Errorf("%v when End has returned", ended)
		}
		synctest.Wait()
		select {
		case err := <-p.Failed():
			t.Errorf("a part that was ended is a failure: %v", err)
		default:
		}
		p.Stop()
		first.End() // which it has
		if !slices.Equal(ended, []string{"a", "b"}) {
			t.Errorf("%v", ended)
		}
	})
}

func TestAPartThatDoesNotStopHoldsTheOthersForABoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := lifecycle.New(slog.New(slog.DiscardHandler))
		p.StartSlow("stuck", 3*time.Second, func(context.Context) error { <-release; return nil })
		start := time.Now()
		p.Stop()
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("waited %s", waited)
		}
		close(release)
	})
}
