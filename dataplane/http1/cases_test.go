package http1_test

import (
	"slices"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/http1/http1test"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// TestEveryCaseIsReadTheSameHoweverItIsCut runs every case whole, byte by byte, and split once at every byte
// (at some, of a large one).
func TestEveryCaseIsReadTheSameHoweverItIsCut(t *testing.T) {
	cases := http1test.Cases()
	if len(cases) < 200 {
		t.Errorf("%d cases, want 200", len(cases))
	}
	for i := range cases {
		c := &cases[i]
		t.Run(c.Name, func(t *testing.T) {
			input := []byte(c.Input)
			whole := play(t, c.Role, c.Asked, input, http1.Limits{}, len(input)+1)
			if !slices.Equal(whole.messages, c.Accept) {
				t.Errorf("RFC %s: read %+v, want %+v", c.Section, whole.messages, c.Accept)
			}
			if whole.reason != c.Reason {
				t.Errorf("RFC %s: refused for %v, want %v", c.Section, whole.reason, c.Reason)
			}
			if bytewise := play(t, c.Role, c.Asked, input, http1.Limits{}, 1); !bytewise.equal(whole) {
				t.Errorf("byte by byte: %+v, whole: %+v", bytewise, whole)
			}
			step := 1 + len(input)/2000*97
			for cut := 1; cut < len(input); cut += step {
				if split := play(t, c.Role, c.Asked, input, http1.Limits{}, cut, len(input)); !split.equal(whole) {
					t.Fatalf("split at %d: %+v, whole: %+v", cut, split, whole)
				}
			}
		})
	}
}

// TestCasesAreNotMovedByTrailingBytes appends bytes to every case that was
// decided before its end.
func TestCasesAreNotMovedByTrailingBytes(t *testing.T) {
	const request = "GET /next HTTP/1.1\r\nHost: shop.test\r\n\r\n"
	for _, c := range http1test.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			want := c.Accept
			switch {
			case c.Reason == http1.TruncatedHead || c.Reason == http1.TruncatedBody || c.Role == http1.Client && endsWithConnection(&c):
				return // the next bytes belong to the message
			case c.Role == http1.Server && c.Reason == http1.NoReason && (len(want) == 0 || !want[len(want)-1].Closes):
				if c.Name == "empty line and nothing else" || c.Name == "nothing at all" || len(want) > 0 {
					want = append(slices.Clone(want), http1test.Message{Line: "GET /next"})
				}
			}
			got := play(t, c.Role, c.Asked, []byte(c.Input+request), http1.Limits{}, len(c.Input)+len(request))
			if !slices.Equal(got.messages, want) {
				t.Errorf("read %+v, want %+v", got.messages, want)
			}
			reason := c.Reason
			if c.Role == http1.Client && reason == http1.NoReason && !closes(&c) {
				reason = http1.BadStatusLine // the second answer
			}
			if got.reason != reason {
				t.Errorf("refused for %v, want %v", got.reason, reason)
			}
		})
	}
}

func closes(c *http1test.Case) bool {
	return len(c.Accept) > 0 && c.Accept[len(c.Accept)-1].Closes
}

// endsWithConnection tells whether the last answer ends when the connection
// does.
func endsWithConnection(c *http1test.Case) bool {
	var r http1.Reader
	var h message.Head
	r.Init(http1.Client, http1.Limits{})
	r.ExpectResponseTo(c.Asked)
	in := []byte(c.Input)
	for {
		ev := r.Next(in, &h)
		switch ev.Kind {
		case http1.NeedMore:
			return h.Framing == message.FramingUntilClose
		case http1.Closed, http1.Failed:
			return false
		case http1.End:
			r.ExpectResponseTo(c.Asked)
			h.Framing = message.FramingNone
		}
		in = in[ev.N:]
	}
}

// TestCasesHaveNamesAndSections keeps the table usable as a list.
func TestCasesHaveNamesAndSections(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range http1test.Cases() {
		if c.Name == "" || c.Section == "" || seen[c.Name] {
			t.Errorf("case %q: no name, no section, or not the only one", c.Name)
		}
		seen[c.Name] = true
	}
}

// TestEveryReasonHasACase keeps the table complete.
func TestEveryReasonHasACase(t *testing.T) {
	seen := map[http1.Reason]bool{http1.NoReason: true, http1.UnsolicitedResponse: true}
	for _, c := range http1test.Cases() {
		seen[c.Reason] = true
	}
	for r := http1.NoReason; r.String() != "unknown"; r++ {
		if !seen[r] {
			t.Errorf("no case for %v", r)
		}
		if s := r.Status(); r != http1.NoReason && (s < 400 || s > 599) || r.String() == "" {
			t.Errorf("reason %d: %q, status %d", r, r, s)
		}
	}
}

// TestNormalFormOfCases runs the paths of the table.
func TestNormalFormOfCases(t *testing.T) {
	for _, c := range http1test.Cases() {
		if c.Path == "" && c.Problem == message.PathOK {
			continue
		}
		var r http1.Reader
		var h message.Head
		r.Init(http1.Server, http1.Limits{})
		if ev := r.Next([]byte(c.Input), &h); ev.Kind != http1.Head {
			t.Fatalf("%s: %+v", c.Name, ev)
		}
		path, _, problem := message.NormalPath(h.Bytes(h.Path), nil, c.Options)
		if string(path) != c.Path || problem != c.Problem {
			t.Errorf("%s: %q, %v, want %q, %v", c.Name, path, problem, c.Path, c.Problem)
		}
	}
}
