package compile

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func httpsListener(t *testing.T, certificates ...string) *fleetv1.Resource {
	t.Helper()
	r := &fleetv1.Resource{
		Kind: proto.String(resource.Listener), Name: proto.String("https"),
		Spec: &fleetv1.Resource_Listener{Listener: &fleetv1.Listener{
			Port: proto.Uint32(8443), Protocol: fleetv1.Listener_HTTPS.Enum(), Tls: &fleetv1.ListenerTLS{Certificates: certificates},
		}},
	}
	return r
}

func TestListenersReferToCertificatesThatAreThere(t *testing.T) {
	p := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	key := tree.Key{Kind: resource.Certificate, Name: "site"}
	listener := httpsListener(t, "sit")
	with := set(t, tree.Tree{}, certificateOf("site", p.Chain, p.Key))
	_, problems := Compile(nil, nil, set(t, with, listener), table.Version{})
	if len(problems) != 1 || problems[0].Field != "spec.tls.certificates[0]" || problems[0].Suggestion != "site" {
		t.Fatalf("a dangling reference: %v", problems)
	}
	first := mustCompile(t, nil, set(t, with, httpsListener(t, "site")))
	if users := referrers(first, key); len(users) != 1 || users[0].String() != "Listener/https" {
		t.Errorf("referred to by %v", users)
	}
	_, problems = Compile(nil, first, first.Tree.Delete(key), table.Version{})
	if len(problems) != 1 || problems[0].Key().String() != "Listener/https" || !strings.HasPrefix(problems[0].Field, "spec.tls.certificates") {
		t.Errorf("without its certificate: %v", problems)
	}
	other := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"other.test"}})
	next := mustCompile(t, first, set(t, set(t, first.Tree, certificateOf("second", other.Chain, other.Key)), httpsListener(t, "second")))
	if users := referrers(next, key); len(users) != 0 {
		t.Errorf("what is no longer referred to is, by %v", users)
	}
	if len(referrers(first, key)) != 1 {
		t.Error("the older result changed")
	}
	mustCompile(t, next, next.Tree.Delete(key))
}

func TestListenersGetACertificateThatChanged(t *testing.T) {
	p := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	renewed := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	first := mustCompile(t, nil, set(t, set(t, tree.Tree{}, certificateOf("site", p.Chain, p.Key)), httpsListener(t, "site")))
	next := mustCompile(t, first, set(t, first.Tree, certificateOf("site", renewed.Chain, renewed.Key)))
	leaf := func(r *Result) string {
		l := r.Table.Listener("https")
		if l == nil || l.TLS == nil || len(l.TLS.Certificates) != 1 {
			t.Fatalf("the listener has no certificate: %+v", l)
		}
		return l.TLS.Certificates[0].Pair.Leaf.SerialNumber.String()
	}
	if leaf(first) != p.Certificate.SerialNumber.String() || leaf(next) != renewed.Certificate.SerialNumber.String() {
		t.Error("the listener has another certificate than its name says")
	}
}
