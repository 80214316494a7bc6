package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// everything reads all routes and upstreams as the server prints them.
func everything(t *testing.T, f *fleettest.Fleet) string {
	t.Helper()
	var b strings.Builder
	for _, plural := range []string{"listeners", "routes", "upstreams"} {
		list, err := f.Client.List(t.Context(), plural)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			b.Write(item)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func TestTwoThousandResourcesAreOneRevisionOnAStockEtcd(t *testing.T) {
	t.Parallel()
	etcd := fleettest.NewEtcd(t)
	f := fleettest.New(t, fleettest.Options{Nodes: 1, EtcdEndpoints: []string{etcd.Endpoint}})
	before, err := f.Client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	applied := f.Apply(loadListener + manyRoutes(0, 1999))
	if applied.Revision != before.Revision+1 {
		t.Errorf("revision %d after %d: not one", applied.Revision, before.Revision)
	}
	after, err := f.Client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Resources["Route"] != 1999 || after.Resources["Listener"] != 1 {
		t.Errorf("%v", after.Resources)
	}
	f.WaitNodes()
	if code, body, _ := ask(t, f.Nodes[0], "h01998.test", "/"); code != http.StatusOK || body != "0" {
		t.Errorf("%d %q", code, body)
	}

	t.Run("rollback restores byte for byte", func(t *testing.T) {
		was := everything(t, f)
		f.Apply(strings.ReplaceAll(manyRoutes(100, 200), `body: "0"`, `body: "1"`))
		if everything(t, f) == was {
			t.Fatal("nothing changed")
		}
		rolled, err := f.Client.Rollback(t.Context(), applied.Revision, client.Write{})
		if err != nil {
			t.Fatal(err)
		}
		if rolled.Digest != applied.Digest || everything(t, f) != was {
			t.Errorf("digest %s, want %s", rolled.Digest, applied.Digest)
		}
		if rolled.Revision <= applied.Revision+1 {
			t.Errorf("a rollback is a new revision, got %d", rolled.Revision)
		}
	})

	t.Run("of two applies on one revision one wins and the other is told", func(t *testing.T) {
		for round := range 20 {
			now, err := f.Client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			outcomes := make([]error, 2)
			for i := range outcomes {
				wg.Go(func() {
					document := fmt.Sprintf("kind: Route\nname: race\nspec: {match: {path: {exact: /race}}, respond: {status: 200, body: %q}}\n", fmt.Sprint(round, i))
					_, outcomes[i] = f.Client.Apply(t.Context(), []byte(document), client.Write{IfMatch: api.RevisionTag(now.Epoch, now.Revision)})
				})
			}
			wg.Wait()
			won, told := 0, 0
			for _, err := range outcomes {
				var e *api.Error
				switch {
				case err == nil:
					won++
				case errors.As(err, &e) && e.Status == http.StatusPreconditionFailed:
					told++
				default:
					t.Fatal(err)
				}
			}
			if won != 1 || told != 1 {
				t.Fatalf("round %d: %v", round, outcomes)
			}
		}
	})

	t.Run("the control plane comes back to the same configuration, and the node gets no bytes of it", func(t *testing.T) {
		f.WaitNodes()
		was := everything(t, f)
		received := metric(t, f.Nodes[0], "proxyfleet_feed_config_bytes_total")
		f.Control.Stop()
		if code, _, _ := ask(t, f.Nodes[0], "h00001.test", "/"); code != http.StatusOK {
			t.Errorf("without a control plane: %d", code)
		}
		f.StartControlPlane()
		f.WaitNodes()
		if everything(t, f) != was {
			t.Error("the configuration changed")
		}
		if now := metric(t, f.Nodes[0], "proxyfleet_feed_config_bytes_total"); now != received {
			t.Errorf("configuration bytes: %s became %s", received, now)
		}
	})
}

// metric is the value of a metric without labels.
func metric(t *testing.T, n *fleettest.Node, name string) string {
	t.Helper()
	for line := range strings.Lines(n.AdminText(t, "/metrics")) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("no metric %s", name)
	return ""
}

func TestWhatRunsIsShownByTheNodeItself(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 1})
	applied := f.Apply(loadListener + manyRoutes(0, 3))
	f.WaitNodes()
	var live struct {
		Running  api.Version     `json:"running"`
		Attested string          `json:"attested"`
		Counts   json.RawMessage `json:"counts"`
	}
	f.Nodes[0].AdminJSON(t, "/config", &live)
	if live.Running.Revision != applied.Revision || live.Attested != applied.Digest {
		t.Errorf("%+v, want %+v", live, applied)
	}
}
