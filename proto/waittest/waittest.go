// Package waittest has tests wait for what becomes true elsewhere: in another goroutine,
// another process, the kernel; and has them read what is written there meanwhile.
package waittest

import (
	"testing"
	"time"
)

const (
	// patience bounds every wait. What is right comes long before, on a machine that is busy
	// with other tests too; only a test that fails waits for so long.
	patience = time.Minute
	// shortest and longest are between two looks; they double from one to the other.
	shortest = 100 * time.Microsecond
	longest  = 2 * time.Millisecond
)

// Until waits until is becomes true. what says so in words: t fails with them if it does not.
// It is called on the goroutine of the test.
func Until(t testing.TB, what string, is func() bool) {
	t.Helper()
	UntilSo(t, func() (string, bool) { return what, is() })
}

// UntilSo is Until where each look says what it has found: t fails with the last that was
// found.
func UntilSo(t testing.TB, look func() (found string, so bool)) {
	t.Helper()
	var found string
	if !Soon(func() (so bool) { found, so = look(); return so }) {
		t.Fatalf("not within %v: %s", patience, found)
	}
}

// Soon waits until is becomes true, and says whether it did. It is for goroutines other than
// the test's, which must not end it.
func Soon(is func() bool) bool {
	for deadline, pause := time.Now().Add(patience), shortest; !is(); pause = min(2*pause, longest) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}
