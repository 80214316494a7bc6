package bell_test

import (
	"context"
	"testing"

	"github.com/proxyfleet/proxyfleet/controlplane/bell"
)

func TestRingsThatNobodyTookAreOneAndEachListenerHasItsOwn(t *testing.T) {
	var b bell.Bell
	b.Ring() // for nobody
	first, second := b.Listen(t.Context()), b.Listen(t.Context())
	for range 3 {
		b.Ring()
	}
	<-first
	for name, c := range map[string]<-chan struct{}{"taken": first, "not taken": second} {
		select {
		case _, ok := <-c:
			if !ok || name == "taken" {
				t.Errorf("%s: a token, open %v", name, ok)
			}
		default:
			if name == "not taken" {
				t.Errorf("%s: no token", name)
			}
		}
	}
	b.Ring()
	<-first
}

func TestAListenerThatIsGoneIsNotTold(t *testing.T) {
	var b bell.Bell
	ctx, cancel := context.WithCancel(t.Context())
	gone, stays := b.Listen(ctx), b.Listen(t.Context())
	cancel()
	if _, ok := <-gone; ok {
		t.Error("a token, and nobody rang")
	}
	b.Ring() // does not send to what is closed
	<-stays
}
