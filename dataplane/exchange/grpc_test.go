package exchange

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// TestErrorsOfOurOwnAreTrailersOnlyForGRPC goes by the mapping of grpc's
// doc/http-grpc-status-mapping.md.
func TestErrorsOfOurOwnAreTrailersOnlyForGRPC(t *testing.T) {
	for reason, want := range map[Reason]string{
		ReasonMalformedRequest: "13", ReasonBodyTooLarge: "2", ReasonNoRoute: "12", ReasonConnectDenied: "7",
		ReasonNoEndpoint: "14", ReasonUpstreamReset: "14", ReasonRequestTimeout: "14", ReasonOverload: "14",
	} {
		env := testEnv(t, nil)
		head := request("POST", "/s/m", "content-type: application/grpc+proto")
		head.HTTP2 = true
		var x Exchange
		var out message.Out
		x.BeginFailed(env, head, Arrival{}, Failure{Reason: reason})
		body := x.Reply(env, &out)
		got := map[string]string{}
		for _, f := range out.Fields {
			got[string(f.Name)] = string(f.Value)
		}
		if out.Status != 200 || len(body) > 0 || out.Framing != message.FramingNone ||
			got["grpc-status"] != want || got["content-type"] != "application/grpc" ||
			got["grpc-message"] != reason.info().text+" (request "+got["x-request-id"]+")" {
			t.Errorf("%s: %d, %q, %v", reason, out.Status, body, got)
		}
		var r Record
		if x.Record(1, &r); r.Status != reason.Status() || r.Reason != reason {
			t.Errorf("%s: the record says %d %s", reason, r.Status, r.Reason)
		}
	}
}

// TestACallThatIsCanceledAtASecondAttemptGivesBackItsPartOfTheBudget: a node that lost it with
// each would soon try nothing again.
func TestACallThatIsCanceledAtASecondAttemptGivesBackItsPartOfTheBudget(t *testing.T) {
	env := testEnv(t, nil)
	spare := &budget{left: 1}
	env.Budget = spare
	head := request("POST", "/s/m", "content-type: application/grpc")
	head.HTTP2 = true
	x, _ := begin(env, head)
	x.Step(env, 20, gotNew)
	x.Step(env, 20, Event{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamReset, Retry: RetryRefused}})
	pass(x, env)
	if x.Step(env, x.NextDeadline()-1, gotNew); spare.left != 0 {
		t.Fatal("there was no second attempt")
	}
	got := x.Step(env, x.NextDeadline()-1, Event{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamReset, Canceled: true}})
	if got != ActAbortUpstream|ActAbortClient|ActFinish || spare.left != 1 {
		t.Errorf("actions %b, %d left of the budget", got, spare.left)
	}
}

func TestTextsForGRPCNeedNoEncoding(t *testing.T) {
	for _, r := range Reasons() {
		for _, c := range []byte(r.info().text) {
			if c < ' ' || c > '~' || c == '%' {
				t.Errorf("%s has %q", r, c)
			}
		}
	}
}

func TestOnlyGRPCOverHTTP2IsAnsweredAsGRPC(t *testing.T) {
	for _, c := range []struct {
		kind  string
		http2 bool
		want  bool
	}{
		{"application/grpc", true, true},
		{"application/grpc+json", true, true},
		{"application/grpc;charset=utf-8", true, true},
		{"application/grpc", false, false},
		{"application/grpc-web", true, false},
		{"application/grpc-web+proto", true, false},
		{"text/plain", true, false},
	} {
		head := request("POST", "/", "content-type: "+c.kind)
		head.HTTP2 = c.http2
		if got := isGRPC(head); got != c.want {
			t.Errorf("%s: %v", c.kind, got)
		}
	}
}
