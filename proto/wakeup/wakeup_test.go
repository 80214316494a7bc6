package wakeup_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

func TestAWaitEndsWithItsTimeOrItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if !wakeup.After(t.Context(), time.Second) || time.Since(begin) != time.Second {
			t.Errorf("it ended after %v", time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin = time.Now()
		if wakeup.After(ctx, time.Hour) || time.Since(begin) != time.Minute {
			t.Errorf("it ended after %v", time.Since(begin))
		}
	})
}

func TestASignalThatIsSentTwiceIsReceivedOnceAndLater(t *testing.T) {
	s := wakeup.NewSignal()
	received := func() (times int) {
		for {
			select {
			case <-s:
				times++
			default:
				return times
			}
		}
	}
	if n := received(); n != 0 {
		t.Errorf("it was sent %d times by itself", n)
	}
	s.Send()
	s.Send()
	if n := received(); n != 1 {
		t.Errorf("it was received %d times", n)
	}
	s.Send()
	if n := received(); n != 1 {
		t.Errorf("it was received %d times the second time", n)
	}
}

func TestThatAChannelIsClosedIsToldWithoutWaiting(t *testing.T) {
	c := make(chan struct{})
	if wakeup.Closed(c) {
		t.Error("it is open")
	}
	close(c)
	if !wakeup.Closed(c) {
		t.Error("it is closed")
	}
}
