package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ask sends a request for a host to a node and returns status and body.
func ask(t *testing.T, node *fleettest.Node, host, path string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+node.Address+":8080"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := direct.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

// direct follows no redirects.
var direct = &http.Transport{MaxIdleConnsPerHost: 8}

func TestEveryRouteOfTheFirstExampleAnswersAsItsCommentsSay(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{})
	f.PortBackends()
	f.Apply(f.Localise(example(t, "first.yaml")))
	f.WaitNodes()
	for _, n := range f.Nodes {
		for _, c := range []struct {
			host, path string
			header     []string
			status     int
			body       []string // any of
		}{
			{"shop.test", "/api", []string{"x-group", "testers"}, 200, []string{"9005"}},
			{"shop.test", "/api/orders", []string{"X-Group", "testers"}, 200, []string{"9005"}},
			{"SHOP.test:8080", "/", nil, 200, []string{"9001", "9002"}},
			{"www.shop.test", "/x", nil, 200, []string{"9001", "9002"}},
			{"a.b.shop.test", "/x", nil, 200, []string{"9001", "9002"}},
			{"shop.test", "/apix", nil, 200, []string{"9001", "9002"}}, // prefixes end at segments
			{"shop.test", "/ping", nil, 200, []string{"9001", "9002"}}, // host ranks above path
			{"other.test", "/ping", nil, 200, []string{"pong\n"}},
			{"other.test", "/", nil, 404, nil},
			{"shop.test", "/home", nil, 301, []string{""}},
		} {
			status, body, header := ask(t, n, c.host, c.path, c.header...)
			if status != c.status || (c.body != nil && !slices.Contains(c.body, body)) {
				t.Errorf("%s: %s%s %v: %d %q", n.ID, c.host, c.path, c.header, status, body)
			}
			if c.path == "/home" && header.Get("Location") != "/" {
				t.Errorf("Location %q", header.Get("Location"))
			}
			if front := c.status == 200 && (body == "9001" || body == "9002"); front != (header.Get("X-Served-By") == "proxyfleet") {
				t.Errorf("%s%s: x-served-by %q", c.host, c.path, header.Get("X-Served-By"))
			}
		}
	}
	split := map[string]int{}
	const requests = 10000
	c, err := net.Dial("tcp", f.Nodes[0].Address+":8080")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for range requests {
		fmt.Fprint(c, "GET /api HTTP/1.1\r\nHost: shop.test\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		split[string(body)]++
	}
	v2 := float64(split["9005"]) / requests * 100
	t.Logf("of %d requests %.2f %% went to version 2; %v", requests, v2, split)
	if v2 < 4 || v2 > 6 || split["9003"]+split["9004"]+split["9005"] != requests {
		t.Errorf("want 95/5 within one point: %v", split)
	}
}

// problems asks the control plane to apply and returns what it refuses, as
// "kind/name field" with the line.
func problems(t *testing.T, f *fleettest.Fleet, documents string) []string {
	t.Helper()
	_, err := f.Client.Apply(context.Background(), []byte(documents), client.Write{})
	if err == nil {
		t.Fatal("it was applied")
	}
	var refused *api.Error
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	var out []string
	for _, p := range refused.Problems {
		out = append(out, fmt.Sprintf("%d %s/%s %s", p.Line, p.Kind, p.Name, p.Field))
	}
	return out
}

func TestWrongExamplesAreRefusedWithExactlyWhatIsWrong(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 1})
	before, err := f.Client.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"bad.yaml": {
			"7 Route/dangling spec.forward[0].upstream", "12 Route/typo spec.hots", "19 Upstream/empty spec.endpoints",
			"24 Upstream/bad-address spec.endpoints[0].address", "28 RateLimit/bad-rate spec.rate", "32 Listener/bad-port spec.port",
			"39 Route/two-actions spec.respond", "44 Route/bad-regex spec.match.path.regex",
		},
		"shop.yaml": {
			"15 Upstream/front spec.healthCheck", "26 Upstream/api-v1 spec.outlierDetection", "27 Upstream/api-v1 spec.circuitBreaker",
			"35 RateLimit/per-client kind", "55 Route/api spec.rateLimits",
		},
	} {
		got := problems(t, f, example(t, name))
		if !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
	after, err := f.Client.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if before.Revision != after.Revision {
		t.Errorf("revision %d became %d", before.Revision, after.Revision)
	}
}
