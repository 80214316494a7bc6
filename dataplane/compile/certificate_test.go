package compile

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func certificateOf(name, chain, key string) *fleetv1.Resource {
	return &fleetv1.Resource{
		Kind: proto.String(resource.Certificate), Name: proto.String(name),
		Spec: &fleetv1.Resource_Certificate{Certificate: &fleetv1.Certificate{Chain: proto.String(chain), Key: proto.String(key)}},
	}
}

func TestCertificatesAreReadOnceAndSharedUntilTheyChange(t *testing.T) {
	a := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"a.test"}})
	b := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"b.test"}})
	first := mustCompile(t, nil, set(t, set(t, tree.Tree{}, certificateOf("a", a.Chain, a.Key)), certificateOf("b", b.Chain, b.Key)))
	if got := first.Certificate("a").Leaf.DNSNames[0]; got != "a.test" {
		t.Errorf("certificate a is of %s", got)
	}
	renewed := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"a.test"}, NotAfter: time.Now().Add(1000 * time.Hour)})
	next := mustCompile(t, first, set(t, first.Tree, certificateOf("a", renewed.Chain, renewed.Key)))
	if next.Certificate("b") != first.Certificate("b") {
		t.Error("an unchanged certificate was read again")
	}
	if !next.Certificate("a").Leaf.Equal(renewed.Certificate) || !first.Certificate("a").Leaf.Equal(a.Certificate) {
		t.Error("the new one is not in the new result, or in the old one too")
	}
	gone := mustCompile(t, next, next.Tree.Delete(tree.Key{Kind: resource.Certificate, Name: "a"}))
	if gone.Certificate("a") != nil || gone.Table.Root != gone.Tree.Root() {
		t.Error("a removed certificate is still there")
	}
}

func TestBytesWithACertificateThatDoesNotHoldAreRefusedWithoutItsKey(t *testing.T) {
	a := certificatetest.SelfSigned(t, certificatetest.Options{})
	b := certificatetest.SelfSigned(t, certificatetest.Options{})
	_, problems := Compile(nil, nil, set(t, tree.Tree{}, certificateOf("site", a.Chain, b.Key)), table.Version{})
	if len(problems) != 1 || problems[0].Field != "spec.key" || !strings.Contains(problems[0].Got, "fingerprint") {
		t.Fatalf("problems %v", problems)
	}
	if b.Leaks([]byte(problems[0].Error())) {
		t.Error("the problem shows the key")
	}
}
