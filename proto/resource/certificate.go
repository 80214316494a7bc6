package resource

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/proxyfleet/proxyfleet/proto/certificate"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// checkCertificate: a chain and its key, each said in one way.
func checkCertificate(c *checker, ms *messageSchema, m protoreflect.Message) {
	d := m.Interface().(*fleetv1.Certificate)
	chainForms, keyForms := []string{"chain"}, []string{"key"}
	if c.filesAllowed {
		chainForms, keyForms = append(chainForms, "chainFile"), append(keyForms, "keyFile")
	}
	if c.standIns {
		keyForms = append(keyForms, "keyFingerprint")
	}
	c.oneForm(ms, m, chainForms, "chainFile")
	c.oneForm(ms, m, keyForms, "keyFile", "keyFingerprint")
	if d.KeyFingerprint != nil {
		c.fingerprint(d)
	}
	switch {
	case d.Chain != nil && d.Key != nil:
		_, faults := certificate.Parse(d.GetChain(), d.GetKey())
		for _, f := range faults {
			c.fault(f)
		}
	case d.Chain != nil:
		if _, f := certificate.ParseChain(d.GetChain()); f != nil {
			c.fault(f)
		}
	case d.Key != nil:
		if _, f := certificate.ParseKey(d.GetKey()); f != nil {
			c.fault(f)
		}
	}
}

// oneForm: exactly one of the forms is set. Another one that may not be set here
// counts, since it is told by itself.
func (c *checker) oneForm(ms *messageSchema, m protoreflect.Message, forms []string, others ...string) {
	if n := c.set(ms, m, forms); n > 1 {
		c.tooMany(ms, m, forms, "exactly one")
	} else if n == 0 && c.set(ms, m, others) == 0 {
		expected := forms[0] + " in PEM"
		for _, form := range forms[1:] {
			expected += ", or " + form
		}
		c.tellAt(forms[0], "nothing", expected, "")
	}
}

// fingerprint checks what stands for the key.
func (c *checker) fingerprint(d *fleetv1.Certificate) {
	given := d.GetKeyFingerprint()
	switch chain, fault := certificate.ParseChain(d.GetChain()); {
	case !c.standIns:
		c.tellAt("keyFingerprint", quote(given), "the key itself, in key", "")
	case !certificate.ValidFingerprint(given):
		c.tellAt("keyFingerprint", quote(given), `"sha256:" and 64 hexadecimal digits in lower case`, "")
	case fault == nil && certificate.KeyFingerprint(chain[0].PublicKey) != given:
		c.tellAt("keyFingerprint", given, fmt.Sprintf("that of the first certificate's key, %s; for a new certificate give its key", certificate.KeyFingerprint(chain[0].PublicKey)), "")
	}
}

func (c *checker) fault(f *certificate.Fault) {
	field := "chain"
	if f.OfKey {
		field = "key"
	}
	c.tellAt(field, f.Got, f.Expected, "")
}

// shown is r as people may see it: with the fingerprint in the place of a key.
func shown(r *fleetv1.Resource) *fleetv1.Resource {
	d := r.GetCertificate()
	if d == nil || d.Key == nil {
		return r
	}
	public := proto.CloneOf(d)
	public.Key, public.KeyFingerprint = nil, nil
	if key, fault := certificate.ParseKey(d.GetKey()); fault == nil {
		public.KeyFingerprint = proto.String(certificate.KeyFingerprint(key.Public()))
	}
	return &fleetv1.Resource{
		Kind: r.Kind, Name: r.Name, Labels: r.Labels, Spec: &fleetv1.Resource_Certificate{Certificate: public},
	}
}

// Secret says whether resources of a kind hold what is never shown: they are
// sealed where they are kept.
func Secret(kind string) bool {
	spec := fleetSchema.kinds[kind]
	return spec != nil && spec.message.hasSecret()
}

func (ms *messageSchema) hasSecret() bool {
	for _, f := range ms.fields {
		if f.secret || f.message != nil && f.message.hasSecret() {
			return true
		}
	}
	return false
}

// Restore puts into r the key whose fingerprint stands in its place, from what is
// kept under r's name; kept may be nil. It reports a problem if that is another.
func Restore(r, kept *fleetv1.Resource) (whole *fleetv1.Resource, problem *Problem) {
	d := r.GetCertificate()
	if d == nil || d.KeyFingerprint == nil {
		return r, nil
	}
	tell := func(expected string) (*fleetv1.Resource, *Problem) {
		return r, &Problem{Kind: r.GetKind(), Name: r.GetName(), Field: "spec.keyFingerprint", Got: d.GetKeyFingerprint(), Expected: expected}
	}
	key := kept.GetCertificate().GetKey()
	if key == "" {
		return tell("the key itself, as keyFile or proxy-dataplane export has it: there is no certificate of this name yet")
	}
	signer, fault := certificate.ParseKey(key)
	if fault != nil {
		return tell("the key itself: the one that is kept cannot be read")
	}
	if has := certificate.KeyFingerprint(signer.Public()); has != d.GetKeyFingerprint() {
		return tell("the fingerprint of the key that is kept, " + has + "; for another key give the key itself")
	}
	whole = proto.CloneOf(r)
	whole.GetCertificate().Key = proto.String(key)
	whole.GetCertificate().KeyFingerprint = nil
	return whole, nil
}
