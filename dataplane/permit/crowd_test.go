package permit

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestWhoComesBesidesACrowdWaitsForFewOfIt(t *testing.T) {
	const members, turns = 200, 100
	s := New(1)
	crowd := NewCrowd(s)
	var served atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	for i := range members {
		m := crowd.Member(uint64(i % 3)) //nolint:gosec // small
		wg.Go(func() {
			for !over.Load() {
				m.Acquire()
				served.Add(1)
				runtime.Gosched()
				m.Release()
			}
		})
	}
	for served.Load() < members {
		runtime.Gosched()
	}
	begin := served.Load()
	for range turns {
		s.Acquire()
		runtime.Gosched()
		s.Release()
	}
	took := served.Load() - begin
	over.Store(true)
	wg.Wait()
	if took > 20*turns { // in line it would be each of them, each time
		t.Errorf("%d of a crowd of %d came before %d turns", took, members, turns)
	}
	t.Logf("%d of a crowd of %d came before %d turns", took, members, turns)
	if len(crowd.lines) != 0 || crowd.next != nil || crowd.free != 1 {
		t.Errorf("%d lines are left, %d places", len(crowd.lines), crowd.free)
	}
}

// waits is how many wait before the gate.
func (c *Crowd) waits() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		n += len(l.waiting)
	}
	return n
}

// TestMembersOfACrowdTakeTurnsByForWhomTheyWait has them come one after another: a for itself
// and at once, 100 more for it, and then some for others.
func TestMembersOfACrowdTakeTurnsByForWhomTheyWait(t *testing.T) {
	const many = 100
	crowd := NewCrowd(New(1))
	first := crowd.Member('a')
	first.Acquire()
	var mu sync.Mutex
	var order []string
	var wg sync.WaitGroup
	waiting := 0
	come := func(of rune, number int) {
		for i := range number {
			wg.Go(func() {
				m := crowd.Member(uint64(of)) //nolint:gosec // a letter
				m.Acquire()
				mu.Lock()
				order = append(order, fmt.Sprint(string(of), i))
				mu.Unlock()
				m.Release()
			})
			for waiting++; crowd.waits() < waiting; {
				runtime.Gosched()
			}
		}
	}
	come('a', many)
	come('b', 3)
	come('c', 1)
	first.Release()
	wg.Wait()
	got := strings.Join(order[:8], " ")
	if got != "a0 b0 c0 a1 b1 a2 b2 a3" || len(order) != many+4 {
		t.Errorf("%d came, as %s …", len(order), got)
	}
	if of := slices.DeleteFunc(order, func(s string) bool { return s[0] != 'a' }); of[many-1] != fmt.Sprint("a", many-1) {
		t.Errorf("those for one came out of order: %v", of)
	}
}
