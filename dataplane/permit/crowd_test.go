package permit

import (
	"runtime"
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
	for range members {
		wg.Go(func() {
			for !over.Load() {
				crowd.Acquire()
				served.Add(1)
				runtime.Gosched()
				crowd.Release()
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
}
