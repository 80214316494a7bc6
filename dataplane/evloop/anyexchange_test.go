//go:build linux

package evloop

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// idOf is the number that an answer says it is of.
func idOf(h *message.Head) string {
	for i := range h.Fields {
		if message.EqualFold(h.Bytes(h.Fields[i].Name), "x-id") {
			return string(h.Bytes(h.Fields[i].Value))
		}
	}
	return ""
}

// play1 sends plans on end on one connection, and says how many were answered before the
// node ended it.
func (n *node) play1(plans []plan) (answered int) {
	n.t.Helper()
	c, err := n.connect()
	if err != nil {
		n.t.Error(err)
		return len(plans)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		for i := range plans {
			if _, err := c.Write(plans[i].request1()); err != nil {
				return
			}
		}
	}()
	var r http1.Reader
	r.Init(http1.Client, http1.Limits{})
	var head message.Head
	var in, got, trailers []byte
	buf := make([]byte, 64<<10)
	interim, fresh, stays := 0, true, true
	for answered < len(plans) {
		p := &plans[answered]
		if fresh {
			r.ExpectResponseTo(message.LookupMethod([]byte(p.method)))
			fresh, interim, got, trailers = false, 0, nil, nil
		}
		ev := r.Next(in, &head)
		if ev.Kind == http1.NeedMore {
			k, err := c.Read(buf)
			if err != nil {
				if ev = r.EOF(); ev.Kind == http1.Closed {
					return answered
				}
				if ev.Kind != http1.End {
					n.t.Errorf("plan %+v: %v: %s %s", *p, err, ev.Kind, ev.Reason)
					return len(plans)
				}
			} else {
				in = append(in, buf[:k]...)
				continue
			}
		}
		switch ev.Kind {
		case http1.Interim:
			interim++
		case http1.Head:
			stays = head.KeepAlive
			if id := idOf(&head); id != strconv.Itoa(p.id) || int(head.Status) != p.status {
				n.t.Errorf("plan %+v: status %d of %q", *p, head.Status, id)
				return len(plans)
			}
		case http1.Data:
			got = append(got, in[ev.Start:ev.End]...)
		case http1.End:
			trailers = append(trailers, in[ev.Start:ev.End]...)
			want := bodyOf(p.id, p.down, false)
			if p.bodiless() {
				want = nil
			}
			if !bytes.Equal(got, want) || interim != p.interim || (len(trailers) > 0) != p.downTrailer {
				n.t.Errorf("plan %+v: %d bytes, %d interim, trailers %q", *p, len(got), interim, trailers)
			}
			answered, fresh = answered+1, true
			if !stays {
				return answered
			}
		case http1.Failed:
			n.t.Errorf("plan %+v: the node answered %s: %q", *p, ev.Reason, in[:min(len(in), 100)])
			return len(plans)
		}
		in = in[ev.N:]
	}
	return answered
}

// play2 carries one out in HTTP/2.
func (n *node) play2(client *http.Client, p plan) {
	interim := 0
	trace := httptrace.WithClientTrace(n.t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { interim++; return nil }})
	var body io.Reader
	if p.up >= 0 {
		body = bytes.NewReader(bodyOf(p.id, p.up, true))
		if p.upChunked {
			body = io.MultiReader(body)
		}
	}
	req, _ := http.NewRequestWithContext(trace, p.method, "http://"+n.address+"/?"+p.query(), body)
	resp, err := client.Transport.RoundTrip(req)
	if err != nil {
		n.t.Errorf("plan %+v: %v", p, err)
		return
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	want := bodyOf(p.id, p.down, false)
	if p.bodiless() {
		want = nil
	}
	if p.status == 304 {
		err = nil // Go's client misses a body of the length that it would have had
	}
	trailer := ""
	if p.downTrailer {
		trailer = strconv.Itoa(p.id)
	}
	if err != nil || resp.StatusCode != p.status || resp.Header.Get("X-Id") != strconv.Itoa(p.id) || !bytes.Equal(got, want) || resp.Trailer.Get("X-Trailer") != trailer || interim != p.interim {
		n.t.Errorf("plan %+v: %d of %s, %d bytes, %v, trailers %v, %d interim", p, resp.StatusCode, resp.Header.Get("X-Id"), len(got), err, resp.Trailer, interim)
	}
	if p.method == "HEAD" && p.framing == 0 && p.status != 204 && resp.ContentLength != int64(p.down) {
		n.t.Errorf("plan %+v: length %d", p, resp.ContentLength)
	}
}

// TestAnyExchangeComesThroughInEveryPairOfVersions: requests and answers of all framings,
// sent on end, with early answers and connections that end.
func TestAnyExchangeComesThroughInEveryPairOfVersions(t *testing.T) {
	inEveryPair(func(version, endpoint int) {
		t.Run(fmt.Sprintf("HTTP%d to HTTP%d", version, endpoint), func(t *testing.T) {
			t.Parallel()
			anyExchange(t, version, endpoint)
		})
	})
}

func anyExchange(t *testing.T, version, endpoint int) {
	const seed, rounds = 1, 60
	n := startNode(t, 1)
	var u *table.Upstream
	if endpoint == 1 {
		u = newUpstream("u", planner1(t, seed))
	} else {
		u, _ = h2backend(t, planner2(t))
	}
	n.apply(nil, forwardAll(u))
	client := h2client(t)
	rnd := rand.New(rand.NewPCG(seed, uint64(version*10+endpoint)))
	for id := 1; id < rounds*5 && !t.Failed(); {
		var plans []plan
		for range 1 + rnd.IntN(8) {
			p := randomPlan(rnd, id)
			if p.early && endpoint == 2 {
				// Go's server ends the connection for trailers that were on their way when it
				// closed their stream, and with it whatever was asked for next.
				p.upTrailers = false
			}
			plans = append(plans, p)
			id++
		}
		if version == 1 {
			for left := plans; len(left) > 0; {
				k := n.play1(left)
				if k == 0 {
					t.Fatalf("nothing was answered of %+v", left[0])
				}
				left = left[k:]
			}
			continue
		}
		var all sync.WaitGroup
		for _, p := range plans {
			all.Go(func() { n.play2(client, p) })
		}
		all.Wait()
	}
}
