//go:build linux

package evloop

import "testing"

// TestATagIsGivenAgainWhenItIsFree so that there are never more than streams at a time.
func TestATagIsGivenAgainWhenItIsFree(t *testing.T) {
	var subs tagged[sub]
	a, b, c := new(sub), new(sub), new(sub)
	if subs.add(a) != 0 || subs.add(b) != 1 {
		t.Error("the first tags are not 0 and 1")
	}
	if subs.drop(0); subs.all[0] != nil || subs.all[1] != b {
		t.Error("a tag that is free has a stream, or another has none")
	}
	if tag := subs.add(c); tag != 0 || subs.all[0] != c || len(subs.all) != 2 {
		t.Errorf("tag %d of %d", tag, len(subs.all))
	}
}
