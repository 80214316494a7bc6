package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const explained = `
kind: Listener
name: web
spec: {port: 8080, protocol: HTTP, trustedProxies: [10.0.0.0/8]}
---
kind: Listener
name: strict
spec: {port: 8081, protocol: HTTP, escapedSlashes: REJECT}
---
kind: Route
name: beta
spec: {listeners: [web], hosts: [shop.test], match: {path: {prefix: /cart}, headers: [{name: x-other, exact: "1"}, {name: x-beta, exact: "yes"}], query: [{name: full, exact: "1"}]}, priority: 1, respond: {status: 204}}
---
kind: Route
name: cart
spec: {listeners: [web], hosts: [shop.test], match: {path: {prefix: /cart}, methods: [POST]}, respond: {status: 204}}
---
kind: Route
name: inside
spec: {listeners: [web], hosts: ["*.test"], match: {path: {prefix: /}, clientCIDRs: [192.0.2.0/24]}, respond: {status: 204}}
---
kind: Route
name: all
spec: {listeners: [strict], match: {path: {prefix: /}}, respond: {status: 204}}
`

func TestExplainSaysWhichRouteARequestGetsAndWhyNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(explained), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{
			"taken", []string{"--listener", "web", "-X", "POST", "-H", "X-Other: 1", "http://Shop.test/x/../cart"}, exitDone, `Listener/web
  shop.test: Route/beta does not fit by match.headers: x-beta
  shop.test: Route/cart is taken: respond 204
`,
		},
		{
			"by the next class of hosts", []string{"--listener", "web", "--client", "192.0.2.7", "-H", "X-Beta: yes", "-H", "X-Other: 1", "http://shop.test/cart"}, exitDone, `Listener/web
  shop.test: Route/beta does not fit by match.query: full
  shop.test: Route/cart does not fit by match.methods
  *.test: Route/inside is taken: respond 204
`,
		},
		{
			"for the client that a trusted proxy names", []string{"--listener", "web", "--client", "10.0.0.1", "-H", "X-Forwarded-For: 192.0.2.7", "http://shop.test/"}, exitDone, `Listener/web
  shop.test: Route/beta does not fit by match.path
  shop.test: Route/cart does not fit by match.path
  *.test: Route/inside is taken: respond 204
`,
		},
		{
			"for the peer that is no trusted proxy", []string{"--listener", "web", "--client", "203.0.113.1", "-H", "X-Forwarded-For: 192.0.2.7", "http://shop.test/"}, exitFailed, `Listener/web
  shop.test: Route/beta does not fit by match.path
  shop.test: Route/cart does not fit by match.path
  *.test: Route/inside does not fit by match.clientCIDRs
  any host: no route
  404: no route is left
`,
		},
		{
			"nowhere on one of two", []string{"http://other.test/a"}, exitFailed, `Listener/strict
  any host: Route/all is taken: respond 204
Listener/web
  other.test: no route
  *.test: Route/inside does not fit by match.clientCIDRs
  any host: no route
  404: no route is left
`,
		},
		{
			"refused", []string{"--listener", "strict", "http://other.test/a%2Fb"}, exitFailed, "Listener/strict\n  400: path_escaped_slash\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, out, errs := explainStatus(t, append([]string{"-f", path}, c.args...)...); status != c.status || out != c.says {
				t.Errorf("status %d\n%s%s, want\n%s", status, out, errs, c.says)
			}
		})
	}
	for _, args := range [][]string{
		{"http://a/"},
		{"-f", path},
		{"-f", path, "/cart"},
		{"-f", path, "--client", "me", "http://a/"},
		{"-f", path, "--listener", "none", "http://a/"},
		{"-f", path, "-X", "GET /x HTTP/1.1\r\nGET", "http://a/"},
		{"-f", path, "-H", "no field", "http://a/"},
		{"-f", path + "x", "http://a/"},
	} {
		if status, out, errs := explainStatus(t, args...); status != exitUsage || errs == "" {
			t.Errorf("%q: status %d\n%s%s", args, status, out, errs)
		}
	}
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("kind: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out, _ := explainStatus(t, "-f", broken, "http://a/"); status != exitFailed || out == "" {
		t.Errorf("status %d\n%s", status, out)
	}
}

func explainStatus(t *testing.T, args ...string) (status int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	w := world{getenv: func(string) (string, bool) { return "", false }, stdout: &stdout, stderr: &stderr}
	status = run(t.Context(), append([]string{"explain"}, args...), w)
	return status, stdout.String(), stderr.String()
}
