package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// fakeNode holds a Sync stream and answers each update as it is told to.
type fakeNode struct {
	leave func()
	done  chan struct{}
}

// join connects a node. answer makes the answer to the update of a version.
func (f *fleet) join(id string, level uint32, answer func(*fleetv1.Version) *fleetv1.NodeMessage) *fakeNode {
	f.Helper()
	conn, err := grpc.NewClient(f.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &fakeNode{leave: cancel, done: make(chan struct{})}
	f.Cleanup(func() {
		cancel()
		<-n.done
		_ = conn.Close()
	})
	sync, err := fleetv1.NewFleetClient(conn).Sync(ctx)
	if err != nil {
		f.Fatal(err)
	}
	if err := sync.Send(&fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Hello{Hello: &fleetv1.Hello{
		NodeId: id, BootId: "boot-" + id, SchemaLevel: level, Labels: map[string]string{"zone": "a"},
	}}}); err != nil {
		f.Fatal(err)
	}
	go func() {
		defer close(n.done)
		for {
			m, err := sync.Recv()
			if err != nil {
				return
			}
			if u := m.GetUpdate(); u.GetLast() {
				if sync.Send(answer(u.GetTarget())) != nil {
					return
				}
			}
		}
	}()
	return n
}

func ack(v *fleetv1.Version) *fleetv1.NodeMessage {
	return &fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Ack{Ack: &fleetv1.Ack{Version: v, Attested: v.GetDigest()}}}
}

func nack(v *fleetv1.Version) *fleetv1.NodeMessage {
	return &fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Nack{Nack: &fleetv1.Nack{
		Version: v, Kind: fleetv1.Nack_LOCAL,
		Problems: []*fleetv1.Problem{{Kind: "Listener", Name: "web", Field: "spec.port", Got: "8080 in use", Expected: "a free port"}},
	}}}
}

// nodeIn waits until the head is wanted of the node and it is in the state.
func (f *fleet) nodeIn(id string, state api.NodeState) api.NodeStatus {
	f.Helper()
	head := f.status().Version
	var n api.NodeStatus
	waittest.UntilSo(f.T, func() (string, bool) {
		a := f.do("GET", api.NodePath(id), "")
		if a.status != http.StatusOK {
			return string(a.body), false
		}
		n = want[api.NodeStatus](f.T, a, http.StatusOK)
		return fmt.Sprintf("%+v", n), n.State == state && n.Wanted == head
	})
	return n
}

func TestNodesShowWhatTheyRunAndWhyNot(t *testing.T) {
	f := newFleet(t)
	version := f.apply(example(t, "first.yaml")).Version
	f.join("good", resource.SchemaLevel, ack)
	f.join("stuck", resource.SchemaLevel, nack)

	good := f.nodeIn("good", api.Synced)
	if !good.Connected || good.Wanted != version || good.Running == nil || *good.Running != version || good.Attested != version.Digest {
		t.Errorf("good: %+v", good)
	}
	stuck := f.nodeIn("stuck", api.Rejected)
	if len(stuck.Problems) != 1 || stuck.Problems[0].Got != "8080 in use" || stuck.Running != nil {
		t.Errorf("stuck: %+v", stuck)
	}
	list := want[api.NodeList](t, f.do("GET", api.PathNodes, ""), http.StatusOK)
	if len(list.Items) != 2 || list.Items[0].ID != "good" || list.Items[1].ID != "stuck" || list.Wanted != version {
		t.Errorf("list: %+v", list)
	}
	if s := f.status(); s.NodesTotal != 2 || s.NodesConnected != 2 || s.Nodes[api.Synced] != 1 || s.Nodes[api.Rejected] != 1 {
		t.Errorf("status: %+v", s)
	}
}

func TestANodeIsEditedLikeAResource(t *testing.T) {
	f := newFleet(t)
	n := f.join("n1", resource.SchemaLevel, ack)
	f.nodeIn("n1", api.Synced)
	text := f.do("GET", api.NodePath("n1"), "", header("Accept", api.MediaYAML))
	if text.status != http.StatusOK || !strings.Contains(string(text.body), "kind: Node") || !strings.Contains(string(text.body), "zone: a") {
		t.Fatalf("%d %s", text.status, text.body)
	}
	tag := text.header.Get("ETag")
	edited := "kind: Node\nname: n1\nlabels: {zone: b}\nspec: {expected: false}\n"
	put := f.do("PUT", api.NodePath("n1"), edited, header("If-Match", tag))
	status := want[api.NodeStatus](t, put, http.StatusOK)
	if status.Labels["zone"] != "b" || status.Expected || !status.Connected || status.FirstSeen == nil {
		t.Errorf("got %+v", status)
	}
	refused(t, f.do("PUT", api.NodePath("n1"), edited, header("If-Match", tag)), api.TypeStale)
	refused(t, f.do("PUT", api.NodePath("n1"), edited, header("If-None-Match", "*")), api.TypeExists)
	refused(t, f.do("PUT", api.NodePath("n2"), edited), api.TypeInvalid)
	refused(t, f.do("PUT", api.NodePath("n1"), ping("n1", "")), api.TypeInvalid)
	refused(t, f.do("PUT", api.NodePath("n1"), "kind: Node\nname: n1\nspec: {cordoned: true}\n"), api.TypeInvalid)

	created := f.do("PUT", api.NodePath("n2"), "kind: Node\nname: n2\n")
	if status := want[api.NodeStatus](t, created, http.StatusCreated); status.State != api.Disconnected || !status.Expected {
		t.Errorf("got %+v", status)
	}
	all := f.do("GET", api.PathNodes, "", header("Accept", api.MediaYAML))
	if docs, problems := resource.Decode(all.body, resource.DecodeOptions{}); len(docs) != 2 || len(problems) != 0 {
		t.Errorf("%d nodes, %v:\n%s", len(docs), problems, all.body)
	}
	// Fleet state makes no revision.
	if s := f.status(); s.Revision != 0 {
		t.Errorf("revision %d", s.Revision)
	}

	refused(t, f.do("DELETE", api.NodePath("n1"), ""), api.TypeConflict)
	n.leave()
	f.nodeIn("n1", api.Disconnected)
	if a := f.do("DELETE", api.NodePath("n1"), ""); a.status != http.StatusNoContent || len(a.body) != 0 {
		t.Errorf("%d %s", a.status, a.body)
	}
	refused(t, f.do("GET", api.NodePath("n1"), ""), api.TypeNotFound)
	refused(t, f.do("DELETE", api.NodePath("n1"), ""), api.TypeNotFound)
}

func TestWhatAConnectedNodeCannotRunIsRefusedNamingIt(t *testing.T) {
	f := newFleet(t)
	f.join("old", resource.SchemaLevel-1, ack)
	f.nodeIn("old", api.Synced)
	e := refused(t, f.do("POST", api.PathApply, ping("a", "")), api.TypeInvalid)
	if len(e.Problems) != 1 || !strings.Contains(e.Problems[0].Expected, `"old"`) {
		t.Errorf("got %+v", e.Problems)
	}
}

// events reads a stream of events in the background.
func (f *fleet) events() <-chan api.Event {
	f.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", f.url+api.PathEvents, nil)
	if err != nil {
		f.Fatal(err)
	}
	response, err := f.client.Do(r)
	if err != nil {
		f.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != api.MediaEvents {
		f.Fatalf("events: %d %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	out := make(chan api.Event, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(out)
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var e api.Event
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				f.Errorf("event %s: %v", data, err)
			}
			out <- e
		}
	}()
	f.Cleanup(func() {
		cancel()
		<-done
		_ = response.Body.Close()
	})
	return out
}

// next is the next event of one of the types.
func next(t *testing.T, events <-chan api.Event, types ...api.EventType) api.Event {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the stream ended before any of %v", types)
			}
			if slices.Contains(types, e.Type) {
				return e
			}
		case <-timeout:
			t.Fatalf("none of %v came", types)
		}
	}
}

func TestEventsTellOfChangesAndNodes(t *testing.T) {
	f := newFleet(t)
	f.apply(ping("a", ""))
	events := f.events()
	first := next(t, events, api.EventTypes()...)
	if first.Type != api.EventStatus || first.Status == nil || first.Status.Revision != 1 {
		t.Fatalf("first event %+v", first)
	}
	f.apply(ping("b", ""), func(r *http.Request) { r.URL.RawQuery = "message=why" })
	change := next(t, events, api.EventChange)
	for change.Change.Revision == 1 { // the hub had not looked yet
		change = next(t, events, api.EventChange)
	}
	if change.Change.Revision != 2 || change.Change.Message != "why" || change.ID <= first.ID {
		t.Errorf("got %+v", change)
	}
	n := f.join("n1", resource.SchemaLevel, ack)
	if e := next(t, events, api.EventNodeConnected); e.Node.ID != "n1" {
		t.Errorf("got %+v", e.Node)
	}
	acked := func(revision uint64) {
		t.Helper()
		for next(t, events, api.EventNodeAcked).Node.Running.Revision != revision {
			continue // what was wanted before
		}
	}
	acked(2)
	f.apply(ping("c", ""))
	acked(3)
	n.leave()
	if e := next(t, events, api.EventNodeDisconnected); e.Node.ID != "n1" {
		t.Errorf("got %+v", e.Node)
	}
	f.join("n2", resource.SchemaLevel, nack)
	if e := next(t, events, api.EventNodeNacked); e.Node.ID != "n2" || len(e.Node.Problems) != 1 {
		t.Errorf("got %+v", e.Node)
	}
}

func TestABurstOfChangesIsToldOneByOne(t *testing.T) {
	f := newFleet(t)
	events := f.events()
	next(t, events, api.EventStatus)
	const n = 25
	for i := range n {
		f.apply(ping("a", fmt.Sprint(i)))
	}
	for i := range n {
		if e := next(t, events, api.EventChange); e.Change.Revision != uint64(i+1) {
			t.Fatalf("event %d is of revision %d", i+1, e.Change.Revision)
		}
	}
}

func TestAReaderThatLagsLosesItsStreamAlone(t *testing.T) {
	f := newFleet(t)
	h := newHub(f.server)
	slow, err := h.subscribe()
	if err != nil {
		t.Fatal(err)
	}
	fast, err := h.subscribe()
	if err != nil {
		t.Fatal(err)
	}
	for range streamBuffer + 1 {
		h.publish(api.Event{Type: api.EventChange})
		<-fast.events
	}
	n := 0
	for range slow.events {
		n++
	}
	if n != streamBuffer || !slow.lagged || fast.lagged {
		t.Errorf("slow got %d events, lagged %v; fast lagged %v", n, slow.lagged, fast.lagged)
	}
	for range maxStreams - 1 {
		if _, err := h.subscribe(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.subscribe(); err == nil {
		t.Error("more streams than the limit")
	}
	h.unsubscribe(fast)
	if _, err := h.subscribe(); err != nil {
		t.Error(err)
	}
}

// TestEachDecisionAboutANodeIsLaterThanTheOnesBefore, by the clock or in spite of it.
func TestEachDecisionAboutANodeIsLaterThanTheOnesBefore(t *testing.T) {
	var ahead atomic.Int64
	ahead.Store(int64(time.Hour))
	f := newFleet(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
	decide := func(drained bool) uint64 {
		t.Helper()
		a := f.do("PUT", api.NodePath("n1"), fmt.Sprintf(`{"kind":"Node","name":"n1","spec":{"drained":%v}}`, drained))
		if a.status/100 != 2 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		record, _, err := f.store.Node(t.Context(), "n1")
		if err != nil {
			t.Fatal(err)
		}
		return record.GetDecision()
	}
	first := decide(true)
	if at := time.UnixMilli(int64(first)); time.Until(at) < 59*time.Minute { //nolint:gosec // a time
		t.Errorf("decided at %v", at)
	}
	ahead.Store(0)
	if second := decide(false); second != first+1 {
		t.Errorf("%d after %d", second, first)
	}
}
