package e2e

import (
	"context"
	"testing"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/load"
)

// runLoad sends until the load is over.
func runLoad(t *testing.T, o load.Options) *load.Result {
	t.Helper()
	r, err := load.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// startLoad sends until stop, or the end of the test. stop gives the result.
func startLoad(t *testing.T, o load.Options) (stop func() *load.Result) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	results := make(chan *load.Result, 1)
	go func() {
		defer close(results)
		r, err := load.Run(ctx, o)
		if err != nil {
			t.Error(err)
			return
		}
		results <- r
	}()
	return func() *load.Result {
		t.Helper()
		cancel()
		r := <-results
		if r == nil {
			t.FailNow()
		}
		return r
	}
}
