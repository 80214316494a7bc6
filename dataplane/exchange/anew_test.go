package exchange

import (
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

var (
	departed = Event{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamReset, Retry: RetryDeparted}}
	shared   = Event{Kind: EventAcquired, Reused: true} // of HTTP/2, with other requests on their way
)

// TestAKeptConnectionThatHadEndedIsNoAttempt: the request is sent anew, once, where a server cannot
// have acted on it or may do so twice, also where the route allows one attempt and asks for no retry.
func TestAKeptConnectionThatHadEndedIsNoAttempt(t *testing.T) {
	late := Event{Kind: EventResponseHead, Head: &message.Head{Status: 408, Minor: 1, Arena: []byte{}}}
	reset := Event{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamReset, Retry: RetryRefused}}
	for _, c := range []struct {
		name     string
		http2    bool
		method   string
		body     int64
		told     bool // nonIdempotent
		acquired Event
		after    int64
		failure  Event
		anew     bool
	}{
		{"kept", false, "GET", 0, false, gotKept, keptEnd, died, true},
		{"kept, and ended late", false, "GET", 0, false, gotKept, keptEnd + 1, died, false},
		{"kept, with a body", false, "PUT", 10, false, gotKept, 0, died, true},
		{"kept, with a body too long to keep", false, "PUT", 101, false, gotKept, 0, died, false},
		{"kept, POST", false, "POST", 0, false, gotKept, 0, died, false},
		{"kept, POST, told", false, "POST", 0, true, gotKept, 0, died, true},
		{"warm", false, "GET", 0, false, gotWarm, 0, died, true},
		{"new", false, "GET", 0, false, gotNew, 0, died, false},
		{"408 that crossed with the request", false, "GET", 0, false, gotKept, 0, late, true},
		{"HTTP/2, idle", true, "GET", 0, false, gotKept, keptEnd, died, true},
		{"HTTP/2, in use", true, "GET", 0, false, shared, 0, died, false},
		{"HTTP/2, GOAWAY", true, "GET", 0, false, shared, keptEnd + 1, departed, true},
		{"HTTP/2, GOAWAY, POST", true, "POST", 10, false, shared, 0, departed, true},
		{"HTTP/2, GOAWAY at once", true, "GET", 0, false, gotNew, 0, departed, false},
		{"HTTP/2, stream refused", true, "GET", 0, false, gotKept, 0, reset, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := testEnv(t, func(_ *table.Listener, r *table.Route) {
				r.Targets[0].Upstream.HTTP2 = c.http2
				r.Retry.Attempts, r.Retry.On, r.Retry.NonIdempotent = 1, 0, c.told
			})
			h := request(c.method, "/")
			if c.body > 0 {
				h.Framing, h.Length = message.FramingLength, c.body
			}
			x, _ := begin(env, h)
			x.Step(env, 20, c.acquired)
			if c.body > 0 {
				x.Step(env, 20, Event{Kind: EventRequestData, N: int(c.body)})
			}
			if got := x.Step(env, 20+c.after, c.failure); got&ActAcquire != 0 != c.anew || got&ActWait != 0 {
				t.Fatalf("actions %b", got)
			}
			if !c.anew {
				return
			}
			if got := x.Step(env, 20+c.after, c.acquired); got&ActSendHead == 0 || c.body > 0 && got&ActResend == 0 {
				t.Errorf("actions %b", got)
			}
			if got := x.Step(env, 20+c.after, c.failure); got&(ActReply|ActForwardHead) == 0 {
				t.Errorf("it is sent a third time: %b", got)
			}
			var r Record
			if x.Record(30, &r); r.Attempts != 2 {
				t.Errorf("the record says %d connections", r.Attempts)
			}
		})
	}
}

func TestARequestSentAnewHasAllItsAttempts(t *testing.T) {
	env := testEnv(t, func(_ *table.Listener, r *table.Route) { status503(r.Retry) })
	var longest time.Duration
	for range 300 {
		x, _ := begin(env, request("GET", "/"))
		x.Step(env, 20, gotKept)
		x.Step(env, 20, died)
		x.Step(env, 20, gotNew)
		if got := x.Step(env, 20, unwell); got&(ActWait|ActAcquire) == 0 {
			t.Fatalf("actions %b", got)
		}
		longest = max(longest, time.Duration(x.retryAt-20)) // as before a first retry
		pass(x, env)
		x.Step(env, x.NextDeadline()-1, gotNew)
		if got := x.Step(env, x.NextDeadline()-1, unwell); got != ActForwardHead {
			t.Fatalf("actions %b", got)
		}
	}
	if most := 25 * time.Millisecond; longest > most || longest < most*8/10 {
		t.Errorf("300 waits are up to %v", longest)
	}
	env = testEnv(t, func(_ *table.Listener, r *table.Route) { status503(r.Retry); r.Retry.Attempts = 3 })
	x, _ := begin(env, request("GET", "/"))
	x.Step(env, 20, gotKept)
	x.Step(env, 20, died)
	last := Actions(0)
	for now := int64(20); last&ActForwardHead == 0; {
		x.Step(env, now, gotNew)
		if last = x.Step(env, now, unwell); last&ActWait != 0 {
			now = x.NextDeadline()
			pass(x, env)
		}
	}
	if x.attempts != 4 {
		t.Errorf("%d attempts, and one that does not count", x.attempts-1)
	}
}

// TestTheBudgetStopsWhatIsSentAnewFromAConnectionThatServedNobody: an upstream that ends every
// connection may be kept warm. What an endpoint left undone, by its word, cost it no work.
func TestTheBudgetStopsWhatIsSentAnewFromAConnectionThatServedNobody(t *testing.T) {
	for _, c := range []struct {
		name              string
		http2             bool
		acquired, failure Event
		anew              bool
	}{
		{"warm", false, gotWarm, died, false},
		{"kept", false, gotKept, died, true},
		{"HTTP/2, GOAWAY", true, shared, departed, true},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Retry.Attempts, r.Targets[0].Upstream.HTTP2 = 1, c.http2 })
		env.Budget = &budget{}
		x, _ := begin(env, request("GET", "/"))
		x.Step(env, 20, c.acquired)
		if got := x.Step(env, 20, c.failure); got&ActAcquire != 0 != c.anew {
			t.Errorf("%s: actions %b", c.name, got)
		}
		var r Record
		if x.Record(30, &r); r.OverBudget == c.anew {
			t.Errorf("%s: over budget %t", c.name, r.OverBudget)
		}
	}
}

// TestA408IsTheAnswerWhereItCannotHaveCrossedWithTheRequest on the way.
func TestA408IsTheAnswerWhereItCannotHaveCrossedWithTheRequest(t *testing.T) {
	late := Event{Kind: EventResponseHead, Head: &message.Head{Status: 408, Minor: 1, Arena: []byte{}}}
	for _, c := range []struct {
		name  string
		http2 bool
		after int64
		anew  bool
	}{
		{"soon", false, keptEnd, true},
		{"late", false, keptEnd + 1, false},
		{"HTTP/2, which has GOAWAY", true, 0, false},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Targets[0].Upstream.HTTP2 = c.http2 })
		x, _ := begin(env, request("GET", "/"))
		x.Step(env, 20, gotKept)
		if got := x.Step(env, 20+c.after, late); got&ActAcquire != 0 != c.anew {
			t.Errorf("%s: actions %b", c.name, got)
		}
	}
}
