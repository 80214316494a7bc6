package exchange

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 asks for it
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// tunnels is an environment whose route opens tunnels.
func tunnels(t *testing.T) *Env {
	t.Helper()
	return testEnv(t, func(_ *table.Listener, r *table.Route) {
		r.Tunnel = &table.Tunnel{
			Upgrades: []string{"websocket", "connect-udp"}, Connect: []table.ConnectTarget{{Host: "shop.test", Port: 8080}}, Idle: time.Hour,
		}
	})
}

// answer makes a head by hand, as request does.
func answer(status uint16, fields ...string) *message.Head {
	h := request("GET", "/", fields...)
	h.Status, h.Method, h.MethodName, h.Path = status, 0, message.Span{}, message.Span{}
	_, h.Upgrade = h.Value(message.FieldUpgrade)
	return h
}

// extended is a request for a tunnel by HTTP/2 (RFC 8441).
func extended(protocol string) *message.Head {
	h := request("CONNECT", "/chat")
	start := uint32(len(h.Arena))
	h.Arena = append(h.Arena, protocol...)
	h.Protocol = message.Span{Start: start, End: uint32(len(h.Arena))}
	h.HTTP2 = true
	return h
}

// connected is an exchange of CONNECT whose tunnel was opened at 20.
func connected(t *testing.T, env *Env) *Exchange {
	t.Helper()
	x, got := begin(env, request("CONNECT", ""))
	if got != ActAcquire || !x.Fresh() || !x.AwaitsTunnel() {
		t.Fatalf("actions %b, fresh %t, awaits %t", got, x.Fresh(), x.AwaitsTunnel())
	}
	if got = x.Step(env, 20, gotNew); got != ActReply|ActJoin || x.State() != StateTunnel || x.AwaitsTunnel() || !x.Tunnels() {
		t.Fatalf("actions %b, state %d", got, x.State())
	}
	var out message.Out
	if body := x.Reply(env, &out); out.Status != 200 || len(body) > 0 || out.Framing != message.FramingNone {
		t.Fatalf("%s, body %q", outText(&out), body)
	}
	return x
}

func TestATunnelEndsWhenBothSidesHave(t *testing.T) {
	down, up := Event{Kind: EventRequestEnd}, Event{Kind: EventResponseEnd}
	last := ActAbortUpstream | ActCloseClient | ActFinish
	for _, c := range []struct {
		events [2]Event
		want   [2]Actions
	}{
		{[2]Event{down, up}, [2]Actions{ActShutUpstream, ActShutClient | last}},
		{[2]Event{up, down}, [2]Actions{ActShutClient, ActShutUpstream | last}},
	} {
		env := tunnels(t)
		x := connected(t, env)
		if at := x.NextDeadline(); at != 20+int64(time.Hour) {
			t.Errorf("without a byte it ends at %d", at)
		}
		for i, ev := range []Event{{Kind: EventRequestData, N: 3}, {Kind: EventResponseData, N: 5}, {Kind: EventRequestData, N: 4}} {
			now := int64(30 + i)
			if got, want := x.Step(env, now, ev), []Actions{ActForwardRequest, ActForwardResponse, ActForwardRequest}[i]; got != want {
				t.Errorf("%+v: actions %b", ev, got)
			}
			if at := x.NextDeadline(); at != now+int64(time.Hour) {
				t.Errorf("after %+v at %d it ends at %d", ev, now, at)
			}
		}
		if got := x.Step(env, 40, c.events[0]); got != c.want[0] || x.State() != StateTunnel {
			t.Errorf("first end: actions %b", got)
		}
		// Half a tunnel has the time of an answer.
		if at := x.NextDeadline(); at != 40+int64(5*time.Minute) {
			t.Errorf("half of it ends at %d", at)
		}
		if got := x.Step(env, 50, c.events[1]); got != c.want[1] || x.State() != StateDone || x.CutTunnel() {
			t.Errorf("second end: actions %b, cut %t", got, x.CutTunnel())
		}
		var r Record
		if x.Record(60, &r); r.Status != 200 || r.Reason != ReasonNone || r.BytesIn != 7 || r.BytesOut != 5 {
			t.Errorf("record %+v", r)
		}
	}
}

func TestATunnelThatIsCutSaysWhy(t *testing.T) {
	failed := Failure{Reason: ReasonUpstreamReset, Detail: "x"}
	for _, c := range []struct {
		ev     Event
		reason Reason
	}{
		{Event{Kind: EventUpstreamFailed, Failure: failed}, ReasonUpstreamReset},
		{Event{Kind: EventRequestFailed, Failure: failed}, ReasonUpstreamReset},
		{Event{Kind: EventDeadline}, ReasonStreamIdleTimeout},
		{Event{Kind: EventClientGone}, ReasonClientGone},
		{Event{Kind: EventCut, Failure: Failure{Reason: ReasonOverload}}, ReasonOverload},
	} {
		for _, half := range []bool{false, true} {
			env := tunnels(t)
			x := connected(t, env)
			if half {
				x.Step(env, 30, Event{Kind: EventRequestEnd})
			}
			if got := x.Step(env, x.NextDeadline()-1, Event{Kind: EventDeadline}); got != 0 {
				t.Fatalf("before its time: actions %b", got)
			}
			if got := x.Step(env, x.NextDeadline(), c.ev); got != ActAbortUpstream|ActAbortClient|ActFinish || !x.CutTunnel() {
				t.Errorf("%+v: actions %b, cut %t", c.ev, got, x.CutTunnel())
			}
			var r Record
			if x.Record(60, &r); r.Status != 200 || r.Reason != c.reason {
				t.Errorf("%+v: %d %s", c.ev, r.Status, r.Reason)
			}
		}
	}
}

func TestAnUpgradeHappensIfBothEndsAgreeOnOneProtocol(t *testing.T) {
	const websocket = "Upgrade: websocket"
	for _, c := range []struct {
		name   string
		asks   []string
		answer *message.Head
		opens  bool
		detail string
	}{
		{"agreed", []string{websocket}, answer(101, websocket), true, ""},
		{"in another case", []string{websocket}, answer(101, "Upgrade: WebSocket"), true, ""},
		{"of several", []string{"Upgrade: h2c, connect-udp", websocket}, answer(101, "Upgrade: connect-udp"), true, ""},
		{"the other of several", []string{"Upgrade: h2c, connect-udp", websocket}, answer(101, websocket), false, "unasked_upgrade"},
		{"nothing was asked for", nil, answer(101, websocket), false, "unasked_upgrade"},
		{"one that does not pass", []string{"Upgrade: h2c"}, answer(101, "Upgrade: h2c"), false, "unasked_upgrade"},
		{"another one", []string{websocket}, answer(101, "Upgrade: h2c"), false, "unasked_upgrade"},
		{"twice", []string{websocket}, answer(101, websocket, websocket), false, "unasked_upgrade"},
		{"unnamed", []string{websocket}, answer(101), false, "unasked_upgrade"},
	} {
		env := tunnels(t)
		h := request("GET", "/", c.asks...)
		h.Upgrade = len(c.asks) > 0
		x, _ := begin(env, h)
		x.Step(env, 20, gotNew)
		got := x.Step(env, 30, Event{Kind: EventResponseHead, Head: c.answer})
		var r Record
		x.Record(40, &r)
		if !c.opens {
			if got&(ActReply|ActAbortUpstream|ActJoin) != ActReply|ActAbortUpstream || r.Status != 502 || r.Detail != c.detail {
				t.Errorf("%s: actions %b, %d %s", c.name, got, r.Status, r.Detail)
			}
			continue
		}
		if got != ActForwardHead|ActJoin || x.State() != StateTunnel || r.Status != 101 {
			t.Errorf("%s: actions %b, %d %s", c.name, got, r.Status, r.Detail)
		}
		var out message.Out
		x.ResponseHead(env, c.answer, &out)
		if text := outText(&out); out.Status != 101 || !out.Upgrade || out.Close || strings.Count(strings.ToLower(text), "upgrade: ") != 1 {
			t.Errorf("%s: %s", c.name, text)
		}
	}
}

// TestAnAnswerInPlaceOfAnUpgradeIsOne.
func TestAnAnswerInPlaceOfAnUpgradeIsOne(t *testing.T) {
	env := tunnels(t)
	h := request("GET", "/", "Upgrade: websocket")
	h.Upgrade = true
	x, _ := begin(env, h)
	x.Step(env, 20, gotNew)
	if got := x.Step(env, 30, fine()); got != ActForwardHead || x.State() != StateStream {
		t.Errorf("actions %b, state %d", got, x.State())
	}
	// To one that asked by HTTP/2 a 2xx would be the tunnel; others are answers.
	for status, passes := range map[uint16]bool{200: false, 204: false, 299: false, 302: true, 404: true} {
		x, _ := begin(env, extended("websocket"))
		x.Step(env, 20, gotNew)
		got := x.Step(env, 30, Event{Kind: EventResponseHead, Head: answer(status)})
		if (got&ActForwardHead != 0) != passes || got&ActJoin != 0 || (x.State() == StateStream) != passes {
			t.Errorf("%d: actions %b, state %d", status, got, x.State())
		}
	}
}

// acceptOf is what proves that a key was read (RFC 6455 section 4.2.2).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	return base64.StdEncoding.EncodeToString(sum[:])
}

func TestTheKeyOfAWebSocketIsMadeAndCheckedWhereTheWaysToAskDiffer(t *testing.T) {
	const key = "dGhlIHNhbXBsZSBub25jZQ==" // of RFC 6455 section 1.3
	if acceptOf(key) != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatal(acceptOf(key))
	}
	// A client of HTTP/1.1, an endpoint of HTTP/2.
	env := tunnels(t)
	env.Table.Upstreams[0].HTTP2 = true
	h := request("GET", "/", "Upgrade: websocket", "Sec-WebSocket-Key: "+key)
	h.Upgrade = true
	x, _ := begin(env, h)
	x.Step(env, 20, gotNew)
	from := answer(200)
	if got := x.Step(env, 30, Event{Kind: EventResponseHead, Head: from}); got != ActForwardHead|ActJoin {
		t.Fatalf("actions %b", got)
	}
	var out message.Out
	if x.ResponseHead(env, from, &out); out.Status != 101 || !strings.Contains(outText(&out), "sec-websocket-accept: "+acceptOf(key)+"|") {
		t.Errorf("%s", outText(&out))
	}
	// The other way round.
	for name, accept := range map[string]func(asked string) []string{
		"right":   func(asked string) []string { return []string{"Sec-WebSocket-Accept: " + acceptOf(asked)} },
		"wrong":   func(string) []string { return []string{"Sec-WebSocket-Accept: " + acceptOf(key)} },
		"missing": func(string) []string { return nil },
	} {
		env := tunnels(t)
		x, _ := begin(env, extended("websocket"))
		x.Step(env, 20, gotNew)
		x.RequestHead(env, &out)
		_, rest, _ := strings.Cut(outText(&out), "sec-websocket-key: ")
		asked, _, _ := strings.Cut(rest, "|")
		if raw, err := base64.StdEncoding.DecodeString(asked); err != nil || len(raw) != 16 || string(out.Method) != "GET" || !out.Upgrade {
			t.Fatalf("%s", outText(&out))
		}
		from := answer(101, append(accept(asked), "Upgrade: websocket")...)
		got := x.Step(env, 30, Event{Kind: EventResponseHead, Head: from})
		var r Record
		x.Record(40, &r)
		if name != "right" {
			if got&ActJoin != 0 || r.Status != 502 || r.Detail != "websocket_accept" {
				t.Errorf("%s: actions %b, %d %s", name, got, r.Status, r.Detail)
			}
			continue
		}
		if got != ActForwardHead|ActJoin || r.Status != 200 {
			t.Errorf("%s: actions %b, %d %s", name, got, r.Status, r.Detail)
		}
		if x.ResponseHead(env, from, &out); out.Status != 200 || out.Upgrade || strings.Contains(strings.ToLower(outText(&out)), "sec-websocket-accept") {
			t.Errorf("%s", outText(&out))
		}
	}
}

func TestAConnectionWithoutRequestsIsATunnelWithoutAnAnswer(t *testing.T) {
	env := tunnels(t)
	in := Arrival{Peer: peer, Start: 5, Now: 10}
	x := new(Exchange)
	if got := x.BeginConnection(env, new(message.Head), in, []byte("shop.test")); got != ActAcquire || !x.Fresh() {
		t.Fatalf("actions %b", got)
	}
	if got := x.Step(env, 20, gotNew); got != ActJoin || x.State() != StateTunnel {
		t.Errorf("actions %b", got)
	}
	if got := x.Step(env, 30, Event{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamReset}}); got != ActAbortUpstream|ActAbortClient|ActFinish {
		t.Errorf("actions %b", got)
	}
	// What cannot be had is not answered: what would be an answer is not known.
	y := new(Exchange)
	y.BeginConnection(env, new(message.Head), in, nil)
	var last Actions
	for range 2 {
		last = y.Step(env, 20, refused)
		last |= pass(y, env)
	}
	if last&(ActReply|ActAbortClient|ActFinish) != ActAbortClient|ActFinish {
		t.Errorf("actions %b", last)
	}
	z := new(Exchange)
	if got := z.RefuseConnection(env, new(message.Head), in, Failure{Reason: ReasonOverload, Detail: "x"}); got != ActAbortClient|ActFinish || z.State() != StateDone {
		t.Errorf("actions %b", got)
	}
	var r Record
	if z.Record(20, &r); r.Reason != ReasonOverload || r.Detail != "x" || r.Status != ReasonOverload.Status() || r.Attempts != 0 {
		t.Errorf("record %+v", r)
	}
}

// TestAKeyIsMadeForAWebSocketThatHasNone, and for nothing else.
func TestAKeyIsMadeForAWebSocketThatHasNone(t *testing.T) {
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	byHTTP1 := func(fields ...string) *message.Head {
		h := request("GET", "/", fields...)
		h.Upgrade = true
		return h
	}
	for _, c := range []struct {
		name string
		head *message.Head
		keys int
		same bool // as the client's
	}{
		{"a WebSocket by HTTP/2", extended("websocket"), 1, false},
		{"another protocol by HTTP/2", extended("connect-udp"), 0, false},
		{"a WebSocket by HTTP/1.1", byHTTP1("Upgrade: websocket", "Sec-WebSocket-Key: "+key), 1, true},
		{"another protocol by HTTP/1.1", byHTTP1("Upgrade: connect-udp"), 0, false},
	} {
		env := tunnels(t)
		x, _ := begin(env, c.head)
		x.Step(env, 20, gotNew)
		var out message.Out
		x.RequestHead(env, &out)
		text := strings.ToLower(outText(&out))
		if keys := strings.Count(text, "sec-websocket-key: "); keys != c.keys || strings.Contains(text, strings.ToLower(key)) != c.same {
			t.Errorf("%s: %s", c.name, text)
		}
	}
}

func TestThePortOfAnAuthority(t *testing.T) {
	for authority, want := range map[string]uint16{
		"a:80": 80, "[::1]:443": 443, "a:0": 0, "a:65535": 65535, "a:65536": 0, "a:99999": 0, "a:00080": 80, "a:000080": 0,
		"a:": 0, "a": 0, "8080": 0, "": 0, "a:8o": 0, "a:/0": 0, "a:-1": 0,
	} {
		if got := port([]byte(authority)); got != want {
			t.Errorf("%s: %d, want %d", authority, got, want)
		}
	}
}

// TestATunnelNeverUsesAConnectionOfRequests at whichever attempt, but for one that a request asks for.
func TestATunnelNeverUsesAConnectionOfRequests(t *testing.T) {
	env := tunnels(t)
	connect, _ := begin(env, request("CONNECT", ""))
	whole := new(Exchange)
	whole.BeginConnection(env, new(message.Head), Arrival{Peer: peer, Start: 5, Now: 10}, nil)
	websocket := request("GET", "/", "Upgrade: websocket")
	websocket.Upgrade = true
	asked, _ := begin(env, websocket)
	for name, c := range map[string]struct {
		x     *Exchange
		fresh bool
	}{"CONNECT": {connect, true}, "a connection": {whole, true}, "a WebSocket": {asked, false}} {
		for range 2 {
			if c.x.State() != StateAcquire || c.x.Fresh() != c.fresh {
				t.Errorf("%s: attempt %d wants a new connection: %t", name, c.x.attempts, c.x.Fresh())
			}
			c.x.Step(env, 20, refused)
			pass(c.x, env)
		}
	}
}
