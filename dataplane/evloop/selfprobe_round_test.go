//go:build linux

package evloop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// probes is a self-probe whose addresses answer, or do not, as they are told.
type probes struct {
	*SelfProbe
	t         *testing.T
	all       []listening
	unsettled bool
	fails     map[netip.AddrPort]error
	asked     []netip.AddrPort // in the last round
	meanwhile func()           // called by each probe, unless nil
	ctx       context.Context  //nolint:containedctx // of the rounds
}

func probesOf(t *testing.T, addresses int) *probes {
	s := &probes{t: t, fails: map[netip.AddrPort]error{}, ctx: t.Context()}
	for i := range addresses {
		s.all = append(s.all, listening{fmt.Sprint("l", i), netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(1000+i))}) //nolint:gosec // a few
	}
	s.SelfProbe = &SelfProbe{
		engine: &Engine{log: slog.New(slog.DiscardHandler)},
		probed: func() ([]listening, bool) {
			if s.unsettled {
				return nil, false
			}
			return s.all, true
		},
		probe: func(_ context.Context, to netip.AddrPort) error {
			s.asked = append(s.asked, to)
			if s.meanwhile != nil {
				s.meanwhile()
			}
			return s.fails[to]
		},
	}
	return s
}

// expect has a round found a fault, or none.
func (s *probes) expect(when string, fault bool) {
	s.t.Helper()
	s.asked = nil
	s.take(s.round(s.ctx))
	if got := s.Fault() != ""; got != fault {
		s.t.Errorf("%s: fault %q", when, s.Fault())
	}
}

var errDead = errors.New("dead")

func TestAFaultEndsWhenTheNodeNoLongerListensThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := probesOf(t, 1)
		s.fails[s.all[0].address] = errDead
		s.expect("the only address fails", true)
		s.unsettled = true
		s.expect("a change is under way", true)
		s.unsettled, s.all = false, nil
		s.expect("it is gone, and no other is there", false)

		s = probesOf(t, 2)
		s.fails[s.all[0].address] = errDead
		s.expect("one of two fails", true)
		s.fails[s.all[1].address] = errUnasked
		s.all = s.all[1:]
		s.expect("it is gone, and the other cannot be asked", false)
	})
}

func TestAnAddressThatCannotBeAskedHidesNothingOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := probesOf(t, 3)
		s.fails[s.all[1].address] = errUnasked
		s.fails[s.all[2].address], s.fails[s.all[0].address] = errDead, errUnasked
		s.expect("one fails among those that cannot be asked", true)
		s.fails[s.all[2].address] = nil
		s.expect("it answers again", false)
		s.fails[s.all[2].address] = errDead
		s.expect("it fails again", true)
		s.fails[s.all[2].address], s.fails[s.all[0].address] = errUnasked, nil
		s.expect("it cannot be asked, and another answers", true)
	})
}

func TestOnlyTheAddressThatFailedClearsItsFaultHoweverManyThereAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := probesOf(t, 2*probesARound+3)
		dead := s.all[probesARound+2].address
		s.fails[dead] = errDead
		for rounds := 0; s.Fault() == ""; rounds++ {
			if rounds > 3 {
				t.Fatal("it is not found")
			}
			s.take(s.round(context.Background()))
		}
		for range 3 {
			s.expect("it is still dead", true)
			if s.asked[0] != dead || len(s.asked) != probeAttempts {
				t.Errorf("asked: %v", s.asked)
			}
		}
		s.fails[dead] = nil
		s.expect("it answers", false)
		if len(s.asked) != probesARound {
			t.Errorf("%d asked", len(s.asked))
		}
		// And all are asked in turn.
		all := map[netip.AddrPort]bool{}
		for range 3 {
			s.expect("all answer", false)
			for _, at := range s.asked {
				all[at] = true
			}
		}
		if len(all) != len(s.all) {
			t.Errorf("%d of %d were asked", len(all), len(s.all))
		}
	})
}

func TestAFailureThatAChangeMayHaveMadeSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name   string
			change func(*probes)
		}{
			{"a change is under way", func(s *probes) { s.unsettled = true }},
			{"it was let go", func(s *probes) { s.all = slices.Delete(slices.Clone(s.all), 0, 1) }},
		} {
			for _, before := range []bool{false, true} {
				s := probesOf(t, 1)
				s.fails[s.all[0].address] = errDead
				if before {
					s.expect("before", true)
				}
				s.meanwhile = func() { c.change(s); s.meanwhile = nil }
				s.expect(c.name, before)
			}
		}
	})
}

func TestOneFailureIsNoFaultIfTheNextAttemptIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := probesOf(t, 1)
		at := s.all[0].address
		s.fails[at] = errDead
		s.meanwhile = func() {
			if len(s.asked) == 2 {
				s.fails[at] = nil
			}
		}
		begun := time.Now()
		s.expect("it failed once", false)
		if took := time.Since(begun); len(s.asked) != 2 || took != probeEvery {
			t.Errorf("asked %d times in %s", len(s.asked), took)
		}
	})
}

func TestAFaultNamesListenerAndAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := probesOf(t, 2)
		s.fails[s.all[0].address] = errDead
		s.expect("the first fails", true)
		s.fails[s.all[0].address], s.fails[s.all[1].address] = nil, errDead
		s.expect("the second does in its place", true)
		if got, want := s.Fault(), `listener "l1": 127.0.0.1:1001: dead`; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		// Whose fault it is now is who must answer.
		s.fails[s.all[1].address] = errUnasked
		s.expect("the second cannot be asked, the first answers", true)
		s.fails[s.all[1].address] = nil
		s.expect("both answer", false)
	})
}

// countingHandler counts what is logged.
type countingHandler struct {
	slog.Handler
	count *int
}

func (h countingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h countingHandler) Handle(context.Context, slog.Record) error {
	*h.count++
	return nil
}

func TestWhatIsLoggedIsWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logged := 0
		s := probesOf(t, 1)
		s.engine.log = slog.New(countingHandler{slog.DiscardHandler, &logged})
		for range 2 {
			s.expect("it answers", false)
		}
		s.fails[s.all[0].address] = errDead
		for range 2 {
			s.expect("it is dead", true)
		}
		delete(s.fails, s.all[0].address)
		for range 2 {
			s.expect("it answers again", false)
		}
		if logged != 2 {
			t.Errorf("logged %d times", logged)
		}
	})
}

func TestTheEndOfTheProberIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := probesOf(t, 1)
		s.fails[s.all[0].address] = errDead
		ctx, end := context.WithCancel(t.Context())
		s.ctx, s.meanwhile = ctx, end
		s.expect("it was stopped while it asked", false)
	})
}

func TestWhoCannotBeAskedIsNotAskedAgainInThatRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := probesOf(t, 1)
		s.fails[s.all[0].address] = fmt.Errorf("%w: no descriptor", errUnasked)
		s.expect("nobody was asked", false)
		if len(s.asked) != 1 {
			t.Errorf("tried %d times", len(s.asked))
		}
	})
}

func TestWhoAnswersAgainIsAskedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := probesOf(t, 2*probesARound)
		dead := s.all[3].address
		s.fails[dead] = errDead
		s.expect("it is dead", true)
		s.fails[dead] = nil
		s.expect("it answers", false)
		times := map[netip.AddrPort]int{}
		for range 2 {
			s.expect("all answer", false)
			for _, at := range s.asked {
				times[at]++
			}
		}
		if len(times) != len(s.all) || times[dead] != 1 {
			t.Errorf("%d of %d were asked, it %d times", len(times), len(s.all), times[dead])
		}
	})
}

func TestNobodyIsAskedTwiceInARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := probesOf(t, probesARound)
		s.fails[s.all[3].address] = errDead
		s.expect("one is dead", true)
		s.fails[s.all[3].address] = errUnasked
		for range 3 {
			s.expect("it cannot be asked", true)
			slices.SortFunc(s.asked, netip.AddrPort.Compare)
			if n := len(slices.Compact(s.asked)); n != probesARound {
				t.Errorf("%d of %d were asked", n, probesARound)
			}
		}
	})
}

func TestWhoHasTheFaultAndCannotBeAskedHidesNothingOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := probesOf(t, 3)
		s.fails[s.all[0].address] = errDead
		s.expect("one is dead", true)
		s.fails[s.all[0].address], s.fails[s.all[2].address] = errUnasked, errDead
		s.expect("another is", true)
		if got, want := s.Fault(), `listener "l2": 127.0.0.1:1002: dead`; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
