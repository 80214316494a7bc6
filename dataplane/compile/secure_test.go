package compile

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// indented is PEM as a YAML block.
func indented(pem string) string {
	return "|\n    " + strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\n    ")
}

func certificateYAML(ca *securetest.Authority, name string, c securetest.Config) string {
	chain, key := ca.PairPEM(c)
	return fmt.Sprintf("kind: Certificate\nname: %s\nspec:\n  chain: %s\n  key: %s\n", name, indented(chain), indented(key))
}

const httpsYAML = `
---
kind: Listener
name: web
spec: {port: 443, protocol: HTTPS, tls: {certificates: [site, other], minVersion: TLS1_3}}
`

func TestAListenerGetsItsCertificates(t *testing.T) {
	ca := securetest.New(t)
	site := certificateYAML(ca, "site", securetest.Config{Names: []string{"Shop.test", "*.shop.test"}})
	other := certificateYAML(ca, "other", securetest.Config{Names: []string{"other.test", "192.0.2.1"}, Expired: true})
	r := mustCompile(t, nil, treeOf(t, site+"---\n"+other+httpsYAML))
	l := r.Table.Listener("web")
	if l.Protocol != table.ProtocolHTTPS || l.TLS == nil || l.TLS.MinVersion != 0x304 || l.TLS.ClientAuth != nil {
		t.Fatalf("%+v", l.TLS)
	}
	for name, want := range map[string]string{
		"shop.test": "site", "SHOP.test.": "site", "a.shop.test": "site", "other.test": "other",
		"192.0.2.1": "other", "a.b.shop.test": "site", "": "site", "test": "site",
	} {
		if got := l.TLS.Pick(name)[0]; got != pairOf(l.TLS, want) {
			t.Errorf("%q: not %s", name, want)
		}
	}
	// Another certificate of the name, and nothing else, makes the listener anew.
	next := mustCompile(t, r, with(t, r.Tree, certificateYAML(ca, "site", securetest.Config{Names: []string{"shop.test"}})))
	if now := next.Table.Listener("web").TLS; now == l.TLS || pairOf(now, "site").Leaf.Equal(pairOf(l.TLS, "site").Leaf) {
		t.Error("the listener has the old certificate")
	}
	labelled := mustCompile(t, next, with(t, next.Tree, "kind: Upstream\nname: u\nspec: {endpoints: [{address: \"127.0.0.1:1\"}]}\n"))
	if labelled.Table.Listener("web").TLS != next.Table.Listener("web").TLS {
		t.Error("a change that is not its made the listener's TLS anew")
	}
	if got := referrers(r, tree.Key{Kind: resource.Certificate, Name: "site"}); !slices.Equal(got, []tree.Key{{Kind: resource.Listener, Name: "web"}}) {
		t.Errorf("referrers %v", got)
	}
	if _, problems := Compile(nil, r, r.Tree.Delete(tree.Key{Kind: resource.Certificate, Name: "site"}), table.Version{}); len(problems) != 1 || problems[0].Field != "spec.tls.certificates[0]" {
		t.Errorf("without its certificate: %v", problems)
	}
}

// pairOf finds the certificate of a name.
func pairOf(t *table.ListenerTLS, name string) *tls.Certificate {
	for _, c := range t.Certificates {
		if c.Name == name {
			return &c.Pair
		}
	}
	return nil
}

func TestClientsAndEndpointsAreTrustedByTheirAuthorities(t *testing.T) {
	ca := securetest.New(t)
	text := certificateYAML(ca, "site", securetest.Config{Names: []string{"shop.test"}}) + `---
kind: Listener
name: web
spec:
  port: 443
  protocol: HTTPS
  tls:
    certificates: [site]
    clientAuth:
      required: true
      forward: true
      ca: ` + strings.ReplaceAll(indented(ca.PEM()), "\n", "\n    ") + `
---
kind: Upstream
name: u
spec:
  endpoints: [{address: "127.0.0.1:443"}]
  tls:
    serverName: api.test
    clientCertificate: site
    ca: ` + strings.ReplaceAll(indented(ca.PEM()), "\n", "\n  ") + "\n"
	r := mustCompile(t, nil, treeOf(t, text))
	if a := r.Table.Listener("web").TLS.ClientAuth; a == nil || !a.Required || !a.Forward || !a.CAs.Equal(ca.Pool()) {
		t.Errorf("listener: %+v", a)
	}
	u := r.Table.Upstream("u").TLS
	if u == nil || u.ServerName != "api.test" || u.SkipVerify || u.Certificate.Name != "site" || !u.CAs.Equal(ca.Pool()) {
		t.Errorf("upstream: %+v", u)
	}
	// Loops keep connections and sessions of the same settings.
	heavier := mustCompile(t, r, treeOf(t, strings.Replace(text, `{address: "127.0.0.1:443"}`, `{address: "127.0.0.1:443", weight: 7}`, 1)))
	if now := heavier.Table.Upstream("u"); now == r.Table.Upstream("u") || now.TLS != u {
		t.Error("another weight made the upstream's TLS anew")
	}
	// The upstream's certificate is another: so are its settings.
	next := mustCompile(t, r, with(t, r.Tree, certificateYAML(ca, "site", securetest.Config{Names: []string{"shop.test"}})))
	if now := next.Table.Upstream("u"); now == r.Table.Upstream("u") || now.TLS.Class == u.Class {
		t.Error("the upstream has the old certificate")
	}
}

func TestAuthoritiesThatAreNoneAreTold(t *testing.T) {
	text := "kind: Upstream\nname: u\nspec: {endpoints: [{address: \"127.0.0.1:443\"}], tls: {ca: nothing}}\n"
	if _, problems := Compile(nil, nil, treeOf(t, text), table.Version{}); len(problems) != 1 || problems[0].Field != "spec.tls.ca" {
		t.Errorf("%v", problems)
	}
}
