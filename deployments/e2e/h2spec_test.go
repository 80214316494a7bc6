package e2e

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

// h2specParts share the cases of h2spec so that they run beside each other: most
// of its time it waits for what does not come.
var h2specParts = []string{"generic", "hpack", "http2/3", "http2/4", "http2/5", "http2/6.1", "http2/6.2", "http2/6.3", "http2/6.4", "http2/6.5", "http2/6.7", "http2/6.8", "http2/6.9", "http2/6.10", "http2/7", "http2/8"}

// h2specCases is how many there are, with --strict.
const h2specCases = 146

// h2specOther are the cases in plaintext in which a node does something else, with
// what h2spec then says. docs/REFERENCE.md has the reasons.
var h2specOther = map[string]string{
	// RFC 9113 section 3.4: who sends no preface does not speak HTTP/2. A listener
	// without TLS speaks HTTP/1.1 too, and in that it answers 400 and closes.
	"http2/3.5: Sends invalid connection preface": "note that the frame header looked like an HTTP/1.1 header",
}

// h2specReport is what h2spec writes for JUnit.
type h2specReport struct {
	Suites []struct {
		Package string `xml:"package,attr"`
		Cases   []struct {
			Title   string `xml:"classname,attr"`
			Failure *struct {
				Text string `xml:",chardata"`
			} `xml:"failure"`
			Error *struct {
				Text string `xml:",chardata"`
			} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// TestH2specPasses runs h2spec against a node, in plaintext with prior knowledge and
// over TLS. Behind the node is a server that reads all of a request before it
// answers: a node that answered by itself could do so before it has seen what is
// wrong with the rest.
func TestH2specPasses(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			fmt.Fprint(w, strings.Repeat("hello", 100))
		}
	}))
	t.Cleanup(backend.Close)
	p := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	n := fleettest.Standalone(t, httpsListener+certificateDocument(t, "site", p)+`
kind: Listener
name: http
spec: {port: 8080, protocol: HTTP}
---
kind: Upstream
name: backend
spec: {endpoints: [{address: "`+strings.TrimPrefix(backend.URL, "http://")+`"}]}
---
kind: Route
name: all
spec: {listeners: [http, https], forward: [{upstream: backend}]}
`)
	for name, args := range map[string][]string{"plaintext": {"--port", "8080"}, "TLS": {"--port", "8443", "--tls", "--insecure"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var parts sync.WaitGroup
			ran := 0
			for i, part := range h2specParts {
				parts.Go(func() {
					file := filepath.Join(t.TempDir(), fmt.Sprint(i))
					out, _, _ := fleettest.Run(t, "", fleettest.Binary(t, "tools/h2spec"), append([]string{
						part, "--strict", "--host", n.Address, "--timeout", "5", "--junit-report", file,
					}, args...)...)
					cases := checkH2spec(t, part, file, out, name == "TLS")
					mu.Lock()
					ran += cases
					mu.Unlock()
				})
			}
			parts.Wait()
			t.Logf("%d cases", ran)
			if ran != h2specCases {
				t.Errorf("%d cases ran, not %d", ran, h2specCases)
			}
		})
	}
}

// checkH2spec reads a report.
func checkH2spec(t *testing.T, part, file, out string, tls bool) (cases int) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Errorf("%s: %v\n%s", part, err, out)
		return 0
	}
	var report h2specReport
	if err := xml.Unmarshal(text, &report); err != nil {
		t.Errorf("%s: %v", part, err)
		return 0
	}
	for _, s := range report.Suites {
		for _, c := range s.Cases {
			cases++
			said := ""
			switch {
			case c.Failure != nil:
				said = c.Failure.Text
			case c.Error != nil:
				said = c.Error.Text
			case c.Skipped != nil:
				said = "skipped"
			default:
				continue
			}
			other, known := h2specOther[s.Package+": "+c.Title]
			if tls || !known || !strings.Contains(said, other) {
				t.Errorf("%s: %s: %s", s.Package, c.Title, said)
			}
		}
	}
	return cases
}
