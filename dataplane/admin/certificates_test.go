package admin

import (
	"crypto/tls"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func TestCertificatesAreShownWithoutTheirKeysAndTheirEndIsAMetric(t *testing.T) {
	f := newFixture(t)
	p := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	r := &fleetv1.Resource{
		Kind: proto.String(resource.Certificate), Name: proto.String("site"),
		Spec: &fleetv1.Resource_Certificate{Certificate: &fleetv1.Certificate{Chain: proto.String(p.Chain), Key: proto.String(p.Key)}},
	}
	canonical, err := resource.Canonical(r)
	if err != nil {
		t.Fatal(err)
	}
	f.tree = f.tree.Set(resource.KeyOf(r), canonical)
	f.table.Root = f.tree.Root()
	f.table.Listeners[0].TLS = &table.ListenerTLS{Certificates: []*table.Certificate{{Name: "site", Pair: tls.Certificate{PrivateKey: p.Signer, Leaf: p.Certificate}}}}
	for _, path := range []string{"/config", "/config?full", "/config?full&format=yaml", "/metrics"} {
		status, body := f.get(t, path)
		if status != http.StatusOK || p.Leaks([]byte(body)) {
			t.Errorf("%s: %d, and perhaps the private key:\n%s", path, status, body)
		}
		if strings.Contains(path, "full") && !strings.Contains(body, "keyFingerprint") {
			t.Errorf("%s: the certificate is missing", path)
		}
		if line := `proxyfleet_certificate_not_after_seconds{certificate="site"} ` + strconv.FormatFloat(float64(p.Certificate.NotAfter.Unix()), 'g', -1, 64) + "\n"; path == "/metrics" && !strings.Contains(body, line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}
