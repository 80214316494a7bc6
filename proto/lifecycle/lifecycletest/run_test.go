package lifecycletest_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
)

// noting is a test that notes its errors.
type noting struct {
	*testing.T
	errors []any
}

func (n *noting) Error(args ...any) { n.errors = append(n.errors, args...) }

func TestAPartRunsUntilItIsStopped(t *testing.T) {
	runs, ended := make(chan struct{}), false
	stop := lifecycletest.Run(t, func(ctx context.Context) error {
		close(runs)
		<-ctx.Done()
		ended = true
		return nil
	})
	<-runs
	if stop(); !ended {
		t.Error("stop returned before it had ended")
	}
	stop()
}

func TestAPartRunsUntilTheTestEnds(t *testing.T) {
	ended := false
	t.Run("test", func(t *testing.T) {
		lifecycletest.Run(t, func(ctx context.Context) error {
			<-ctx.Done()
			ended = true
			return nil
		})
	})
	if !ended {
		t.Error("it runs on")
	}
}

func TestAPartThatFailsFailsItsTest(t *testing.T) {
	n := &noting{T: t}
	failed := errors.New("failed")
	lifecycletest.Run(n, func(context.Context) error { return failed })()
	if !slices.Equal(n.errors, []any{failed}) {
		t.Errorf("%v", n.errors)
	}
}
