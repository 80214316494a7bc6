package hugepage

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestOnlyAHeapThatIsLargeAndHasGrownIsLookedAt(t *testing.T) {
	k := &Keeper{}
	for _, step := range []struct {
		heap uint64
		want bool
	}{
		{worthwhile - 1, false},
		{worthwhile, true},
		{worthwhile + worthwhile/8, false},
		{worthwhile + worthwhile/4, true},
		{worthwhile, false},
	} {
		if got := k.grown(step.heap); got != step.want {
			t.Errorf("%d bytes: %v", step.heap, got)
		}
	}
}

func TestChangesThatComeOneAfterAnotherAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := New(nil, nil)
		begin := time.Now()
		go func() {
			for range 5 {
				k.Changed()
				time.Sleep(calm / 2)
			}
		}()
		if !k.calmed(t.Context()) || time.Since(begin) != 3*calm {
			t.Errorf("after %v", time.Since(begin))
		}
	})
}
