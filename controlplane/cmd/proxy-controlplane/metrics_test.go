package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/seal"
	"github.com/proxyfleet/proxyfleet/proto/settings/settingstest"
)

func TestMetricsAreServed(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	p := start(t, t.TempDir())
	p.call("POST", api.PathApply, route)
	p.call("GET", "/v1/nothing", "")
	p.until("published", func() bool {
		_, text := p.call("GET", api.PathMetrics, "")
		return strings.Contains(string(text), metricRevision+" 1\n")
	})
	code, text := p.call("GET", api.PathMetrics, "")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	for _, line := range []string{
		metricRequests + `{code="200",operation="apply"} 1`,
		metricRequests + `{code="404",operation="none"} 1`,
		metricRequestSeconds + `_count{operation="apply"} 1`,
		metricResources + " 1", metricUnpublished + " 0",
		metricNodes + `{state="SYNCED"} 0`,
		metricNacks + `{reason="permanent"} 0`,
		metricPublishSeconds + "_count",
		metricBuildInfo + "{",
		"go_goroutines",
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("no line %q", line)
		}
	}
	t.Run("the reference names them", func(t *testing.T) { referenceNames(t, string(text)) })
}

// TestMetricsOfSeveralControlPlanes are those of one, and what they tell each other by.
func TestMetricsOfSeveralControlPlanes(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	endpoint := freeURL(t)
	externalEtcd(t, endpoint, freeURL(t))
	key := filepath.Join(t.TempDir(), "seal.key")
	if _, err := seal.CreateFile(key); err != nil {
		t.Fatal(err)
	}
	var planes [2]*process
	for i := range planes {
		planes[i] = start(t, t.TempDir(), "--etcd-endpoints", endpoint.String(), "--seal-key-file", key)
	}
	for _, p := range planes {
		p.until("told of the other", func() bool {
			_, text := p.call("GET", api.PathMetrics, "")
			return strings.Contains(string(text), metricReplicas+" 1\n")
		})
	}
	_, text := planes[0].call("GET", api.PathMetrics, "")
	for _, line := range []string{metricReplicaWrites, metricReplicaFailures + " 0\n", metricReplicaBytes, metricReplicaHeard, metricConnected + " 0\n"} {
		if !strings.Contains(string(text), "\n"+line) {
			t.Errorf("no line %q", line)
		}
	}
	referenceNames(t, string(text))
	var status api.Status
	if _, text := planes[0].call("GET", api.PathStatus, ""); json.Unmarshal(text, &status) != nil || len(status.ControlPlanes) != 2 ||
		!strings.HasSuffix(planes[0].GRPC, status.ControlPlanes[0].Name[strings.LastIndex(status.ControlPlanes[0].Name, ":"):]) {
		t.Errorf("%+v", status.ControlPlanes)
	}
}

// referenceNames looks for every metric of ours in the reference, with its text.
func referenceNames(t *testing.T, metrics string) {
	t.Helper()
	reference := settingstest.Page(t, "../../../docs/REFERENCE.md")
	for line := range strings.Lines(metrics) {
		name, help, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "# HELP "), " ")
		if !ok || !strings.HasPrefix(line, "# HELP proxyfleet_") {
			continue
		}
		begin, end := "| `"+name+"` | ", " | "+strings.TrimSuffix(help, ".")+" |\n"
		found := false
		for row := range strings.Lines(reference) {
			found = found || strings.HasPrefix(row, begin) && strings.HasSuffix(row, end)
		}
		if !found {
			t.Errorf("docs/REFERENCE.md has no row\n\t%s…%s", begin, end)
		}
	}
}
