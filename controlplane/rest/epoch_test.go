package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

func (f *fleet) epoch() api.Epoch {
	f.Helper()
	return want[api.Epoch](f.T, f.do("GET", api.PathEpoch, ""), http.StatusOK)
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestAnEpochIsAcceptedByItsNumberOnly(t *testing.T) {
	f := newFleet(t)
	e := f.epoch()
	if e.Epoch == 0 || e.Epoch != f.status().Epoch || e.Accepted || len(e.Held) > 0 || e.ClusterID == "" {
		t.Fatalf("%+v", e)
	}
	number := fmt.Sprint(e.Epoch)
	other := asJSON(api.AcceptRequest{Epoch: e.Epoch + 1})
	body := header("Content-Type", api.MediaJSON)
	refused(t, f.do("POST", api.PathAccept, ""), api.TypeMalformed)
	refused(t, f.do("POST", api.PathAccept, "", header("If-Match", "*")), api.TypeMalformed)
	refused(t, f.do("POST", api.PathAccept, "", header("If-Match", "1")), api.TypeStale)
	refused(t, f.do("POST", api.PathAccept, other, body), api.TypeStale)
	refused(t, f.do("POST", api.PathAccept, other, body, header("If-Match", number)), api.TypeStale)
	refused(t, f.do("POST", api.PathAccept, asJSON(api.AcceptRequest{Epoch: e.Epoch}), body, header("If-Match", "1")), api.TypeStale)
	refused(t, f.do("POST", api.PathAccept, `{"epoch": 0}`, body), api.TypeMalformed)
	refused(t, f.do("POST", api.PathAccept, `{"epoc": 1}`, body), api.TypeMalformed)
	refused(t, f.do("POST", api.PathAccept, "epoch: 1"), api.TypeMediaType)
	refused(t, f.do("POST", api.PathAccept+"?force=true", "", header("If-Match", number)), api.TypeMalformed)
	if f.epoch().Accepted {
		t.Fatal("what was refused was accepted")
	}
	a := f.do("POST", api.PathAccept, "", header("If-Match", `"`+number+`"`))
	if got := want[api.Epoch](t, a, http.StatusOK); !got.Accepted || got.Epoch != e.Epoch || a.header.Get("ETag") != `"`+number+`"` {
		t.Fatalf("%+v, ETag %s", got, a.header.Get("ETag"))
	}
	// Again, by the body.
	if got := want[api.Epoch](t, f.do("POST", api.PathAccept, asJSON(api.AcceptRequest{Epoch: e.Epoch}), body), http.StatusOK); !got.Accepted {
		t.Fatalf("%+v", got)
	}
	if !f.epoch().Accepted {
		t.Fatal("not accepted")
	}
	if s := f.status(); s.Revision != 0 {
		t.Fatalf("an acceptance is no change of the configuration, but made revision %d", s.Revision)
	}
}

func TestNodesThatHoldTheEpochAreListedWithWhatTheyWouldLose(t *testing.T) {
	f := newFleet(t)
	number := f.epoch().Epoch
	asked := make(chan *fleetv1.Version, 10)
	var accepted atomic.Bool
	f.join("n1", resource.SchemaLevel, func(v *fleetv1.Version) *fleetv1.NodeMessage {
		asked <- v
		if accepted.Load() {
			return ack(v)
		}
		return &fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Nack{Nack: &fleetv1.Nack{
			Version: v, Kind: fleetv1.Nack_HELD,
			Loss:     &fleetv1.Loss{Routes: 50, RoutesLost: 48, VirtualIps: 1, VirtualIpsLost: 1, Listeners: 2, ListenersLost: 1},
			Problems: []*fleetv1.Problem{{Got: "a loss"}},
		}}}
	})
	<-asked
	waittest.UntilSo(t, func() (string, bool) { e := f.epoch(); return asJSON(e), len(e.Held) == 1 })
	h := f.epoch().Held[0]
	if h.ID != "n1" || h.Loss != (api.Loss{Routes: 50, RoutesLost: 48, VirtualIPs: 1, VirtualIPsLost: 1, Listeners: 2, ListenersLost: 1}) {
		t.Fatalf("%+v", h)
	}
	if s := f.status(); s.Nodes[api.Held] != 1 {
		t.Fatalf("%+v", s.Nodes)
	}
	if n := f.nodeIn("n1", api.Held); n.Held == nil || *n.Held != h.Loss || len(n.Problems) != 1 {
		t.Fatalf("%+v", n)
	}
	if len(asked) > 0 {
		t.Fatal("what is held was sent again")
	}
	accepted.Store(true)
	a := f.do("POST", api.PathAccept, "", header("If-Match", fmt.Sprint(number)))
	if e := want[api.Epoch](t, a, http.StatusOK); len(e.Held) > 0 {
		t.Fatalf("held although accepted: %+v", e)
	}
	f.nodeIn("n1", api.Synced)
	if v := <-asked; v.GetEpoch() != number {
		t.Fatalf("asked for %v", v)
	}
}
