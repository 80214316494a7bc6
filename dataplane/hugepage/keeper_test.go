package hugepage

import "testing"

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
		{2 * worthwhile, true},
		{worthwhile, false}, // it shrank
		{worthwhile + worthwhile/4, true},
	} {
		if got := k.grown(step.heap); got != step.want {
			t.Errorf("%d bytes: %v", step.heap, got)
		}
	}
}
