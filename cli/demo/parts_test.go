package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

func TestBackendNamesItsPortAndTheRequest(t *testing.T) {
	ports := freePorts(t, 2)
	var addresses []string
	for _, p := range ports {
		addresses = append(addresses, "127.0.0.1:"+strconv.Itoa(p))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ServeBackend(ctx, addresses) }()
	for i, address := range addresses {
		req, err := http.NewRequest(http.MethodPost, "http://"+address+"/a%2Fb?x=1", strings.NewReader("12345"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.test"
		req.Header.Set("X-Forwarded-For", "192.0.2.1")
		req.Header.Set("Cookie", "secret")
		var got backendAnswer
		if err := json.Unmarshal([]byte(answerOf(t, req)), &got); err != nil {
			t.Fatal(err)
		}
		if got.Port != ports[i] || got.Method != "POST" || got.Host != "shop.test" || got.Path != "/a%2Fb?x=1" || got.Body != 5 ||
			got.Headers["X-Forwarded-For"] != "192.0.2.1" || got.Headers["Cookie"] != "" {
			t.Errorf("got %+v", got)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// answerOf asks until somebody answers.
func answerOf(t *testing.T, req *http.Request) string {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Backend") == "" {
				t.Fatalf("status %d, %v: %s", resp.StatusCode, err, body)
			}
			return string(body)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		if req.Body, err = req.GetBody(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBackendSaysThatAPortIsTaken(t *testing.T) {
	port := "127.0.0.1:" + strconv.Itoa(freePorts(t, 1)[0])
	if err := ServeBackend(t.Context(), []string{port, port}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}

func TestTailIsTheEndOfALog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := tailOf(path); got != "" {
		t.Errorf("of no file: %q", got)
	}
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(tailOf(path), "\n")
	if len(got) != tailLines || got[0] != "  line 4985" || got[tailLines-1] != "  line 4999" {
		t.Errorf("got %q", got)
	}
}

func TestChildrenDoNotInheritTheFleetsEnvironment(t *testing.T) {
	got := strings.Join(childEnvironment([]string{"HOME=/h", "PROXYFLEET_NODE_ID=x", "PROXYCTL_CONFIG=y"}), " ")
	if got != "HOME=/h PROXYCTL_CONFIG=y" {
		t.Errorf("got %s", got)
	}
}

func TestRateIsThatBetweenTwoReports(t *testing.T) {
	start := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	report := func(id string, requests uint64, second int) api.NodeStatus {
		at := start.Add(time.Duration(second) * time.Second)
		return api.NodeStatus{ID: id, Connected: true, Requests: requests, LastSeen: &at}
	}
	var m rateMeter
	for _, step := range []struct {
		name  string
		nodes []api.NodeStatus
		want  float64
	}{
		{"one report is no rate", []api.NodeStatus{report("a", 100, 0)}, 0},
		{"two are", []api.NodeStatus{report("a", 600, 5)}, 100},
		{"nothing new keeps it", []api.NodeStatus{report("a", 600, 5)}, 100},
		{"nodes add up", []api.NodeStatus{report("a", 600, 5), report("b", 7, 0)}, 100},
		{"each by its own clock", []api.NodeStatus{report("a", 600, 10), report("b", 27, 2)}, 10},
		{"a node that began anew counts nothing", []api.NodeStatus{report("a", 5, 15), report("b", 27, 2)}, 10},
		{"a node that is gone neither", []api.NodeStatus{report("a", 5, 15)}, 0},
	} {
		m.add(step.nodes)
		if m.rate != step.want {
			t.Errorf("%s: %v, want %v", step.name, m.rate, step.want)
		}
	}
}

func TestWordsAreQuotedForShells(t *testing.T) {
	for word, want := range map[string]string{"/tmp/a-1": "/tmp/a-1", "a b": "'a b'", "it's": `'it'\''s'`, "": "''"} {
		if got := quoted(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}
