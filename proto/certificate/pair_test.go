package certificate_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/certificate"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

func TestEverySupportedKeyIsRead(t *testing.T) {
	for name, o := range map[string]certificatetest.Options{
		"ECDSA P-256": {}, "ECDSA P-384": {Key: certificatetest.ECDSA(t, elliptic.P384())},
		"ECDSA P-521": {Key: certificatetest.ECDSA(t, elliptic.P521())},
		"RSA 2048":    {Key: certificatetest.RSA(t, 2048)}, "Ed25519": {Key: certificatetest.Ed25519(t)},
	} {
		t.Run(name, func(t *testing.T) {
			o.Names = []string{"shop.test", "10.0.0.1"}
			p := certificatetest.SelfSigned(t, o)
			pair, faults := certificate.Parse(p.Chain, p.Key)
			if len(faults) > 0 {
				t.Fatal(faults[0])
			}
			info := certificate.Describe(pair.Leaf)
			if info.KeyType != name || strings.Join(info.Names, " ") != "shop.test 10.0.0.1" {
				t.Errorf("described as %+v", info)
			}
			if info.KeyFingerprint != certificate.KeyFingerprint(pair.Key.Public()) || !certificate.ValidFingerprint(info.KeyFingerprint) {
				t.Errorf("key fingerprint %q", info.KeyFingerprint)
			}
		})
	}
}

func TestKeysAreReadInTheFormsThatToolsWrite(t *testing.T) {
	ec := certificatetest.ECDSA(t, elliptic.P256())
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	rsa := certificatetest.RSA(t, 2048)
	for name, text := range map[string]string{
		"SEC 1": certificatetest.PEM("EC PRIVATE KEY", sec1),
		// The object identifier of P-256.
		"after its parameters": certificatetest.PEM("EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}) + certificatetest.PEM("EC PRIVATE KEY", sec1),
		"PKCS #1":              certificatetest.PEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsa)),
	} {
		if _, fault := certificate.ParseKey(text); fault != nil {
			t.Errorf("%s: %v", name, fault)
		}
	}
}

func TestChainsWithIssuersAreTakenInOrderOnly(t *testing.T) {
	root := certificatetest.Root(t, "root")
	middle := root.Authority(t, "middle")
	leaf := middle.Issue(t, certificatetest.Options{Names: []string{"shop.test"}})
	if _, faults := certificate.Parse(leaf.Chain+root.Chain, leaf.Key); len(faults) > 0 {
		t.Fatal(faults[0])
	}
	own := certificatetest.PEM("CERTIFICATE", leaf.Certificate.Raw)
	for name, c := range map[string]struct{ chain, got string }{
		"issuer first":      {middle.Chain + own, "certificate 2 (shop.test) after middle, which it did not issue"},
		"one left out":      {own + root.Chain, "certificate 2 (root) after shop.test, which it did not issue"},
		"a stranger":        {own + certificatetest.Root(t, "middle").Chain, "which it did not issue: x509"},
		"only the issuer":   {middle.Chain, "a key with the fingerprint"},
		"the key's is last": {certificatetest.PEM("CERTIFICATE", middle.Certificate.Raw), "a key with"},
	} {
		_, faults := certificate.Parse(c.chain, leaf.Key)
		if len(faults) != 1 || !strings.Contains(faults[0].Got, c.got) {
			t.Errorf("%s: %v, want %q", name, faults, c.got)
		}
	}
}

// FuzzParse: a pair fits together and is read again as it was, and a fault says nothing
// of the key.
func FuzzParse(f *testing.F) {
	root := certificatetest.Root(f, "root")
	for _, p := range []*certificatetest.Pair{
		certificatetest.SelfSigned(f, certificatetest.Options{}),
		certificatetest.SelfSigned(f, certificatetest.Options{Key: certificatetest.Ed25519(f), Names: []string{"10.0.0.1"}}),
		root.Authority(f, "middle").Issue(f, certificatetest.Options{Names: []string{"shop.test"}}),
	} {
		f.Add(p.Chain, p.Key)
		f.Add(p.Key, p.Chain)
		f.Add(p.Chain+root.Chain, "text\n"+strings.ReplaceAll(p.Key, "\n", "\r\n"))
	}
	f.Fuzz(func(t *testing.T, chain, key string) {
		pair, faults := certificate.Parse(chain, key)
		if (pair == nil) != (len(faults) > 0) {
			t.Fatalf("%v, %v", pair, faults)
		}
		for _, fault := range faults {
			if fault.Got == "" || fault.Expected == "" {
				t.Errorf("a fault without words: %+v", fault)
			}
			for line := range strings.Lines(key) {
				if line = strings.TrimSpace(line); len(line) > 40 && strings.Contains(fault.Error(), line[:40]) && !strings.Contains(chain, line[:40]) {
					t.Errorf("the fault holds a line of the key: %s", fault)
				}
			}
		}
		if pair == nil {
			return
		}
		public, ok := pair.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if !ok || !public.Equal(pair.Key.Public()) {
			t.Error("the key is another one's")
		}
		var again strings.Builder
		for _, der := range pair.Chain {
			again.WriteString(certificatetest.PEM("CERTIFICATE", der))
		}
		if same, faults := certificate.Parse(again.String(), key); len(faults) > 0 || len(same.Chain) != len(pair.Chain) || !same.Leaf.Equal(pair.Leaf) {
			t.Errorf("the chain is not read again: %v", faults)
		}
	})
}

func TestFaultsSayWhatIsWrongAndNothingOfTheKey(t *testing.T) {
	p := certificatetest.SelfSigned(t, certificatetest.Options{})
	other := certificatetest.SelfSigned(t, certificatetest.Options{})
	secret := strings.Split(p.Key, "\n")[1]
	for name, c := range map[string]struct{ chain, key, got string }{
		"nothing":            {"", "", "no certificate"},
		"no key":             {p.Chain, "", "no private key"},
		"no PEM":             {p.Chain, secret, "no private key"},
		"torn":               {p.Chain, p.Key[:len(p.Key)-30], "cannot be read"},
		"not base64":         {p.Chain, strings.Replace(p.Key, "M", "!", 1), "cannot be read"},
		"another type":       {p.Chain, strings.ReplaceAll(p.Key, "PRIVATE KEY", "RSA PRIVATE KEY"), "cannot be read"},
		"swapped":            {p.Key, p.Chain, "a private key"},
		"key in the chain":   {p.Chain + p.Key, p.Key, "a private key"},
		"chain in the key":   {p.Chain, p.Key + p.Chain, `type "CERTIFICATE"`},
		"two keys":           {p.Chain, p.Key + other.Key, "more than one"},
		"another's key":      {p.Chain, other.Key, "a key with the fingerprint sha256:"},
		"encrypted":          {p.Chain, strings.ReplaceAll(p.Key, "PRIVATE", "ENCRYPTED PRIVATE"), "an encrypted private key"},
		"weak RSA":           {weak(t).Chain, weak(t).Key, "RSA 1024"},
		"old curve":          {p.Chain, certificatetest.SelfSigned(t, certificatetest.Options{Key: certificatetest.ECDSA(t, elliptic.P224())}).Key, "ECDSA P-224"},
		"a bundle":           {strings.Repeat(p.Chain, certificate.MaxChain+1), p.Key, "more than 10"},
		"a damaged block":    {strings.Replace(p.Chain, "M", "!", 1), p.Key, "1 PEM blocks of which 0"},
		"no certificate":     {certificatetest.PEM("CERTIFICATE", []byte("x")), p.Key, "no certificate"},
		"a request":          {certificatetest.PEM("CERTIFICATE REQUEST", []byte("x")), p.Key, `type "CERTIFICATE REQUEST"`},
		"a key among others": {p.Chain + "-----BEGIN PRIVATE KEY-----\n" + secret, p.Key, "a private key"},
	} {
		_, faults := certificate.Parse(c.chain, c.key)
		if len(faults) == 0 || !strings.Contains(faults[0].Got, c.got) {
			t.Errorf("%s: %v, want %q", name, faults, c.got)
		}
		for _, f := range faults {
			for _, line := range strings.Split(p.Key+other.Key, "\n") {
				if len(line) > 8 && !strings.HasPrefix(line, "-") && strings.Contains(f.Error(), line[:8]) {
					t.Errorf("%s: the fault holds bytes of the key: %s", name, f)
				}
			}
		}
	}
}

func weak(t *testing.T) *certificatetest.Pair {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	return certificatetest.SelfSigned(t, certificatetest.Options{Key: certificatetest.RSA(t, 1024)})
}

func TestOlderGoesByTheBeginningAndThenByTheEnd(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	of := func(begin, end int) *x509.Certificate {
		return &x509.Certificate{NotBefore: at.AddDate(0, 0, begin), NotAfter: at.AddDate(0, 0, end)}
	}
	for _, c := range []struct {
		a, b *x509.Certificate
		want bool
	}{
		{of(0, 90), of(60, 150), true},
		{of(60, 150), of(0, 90), false},
		{of(0, 90), of(0, 90), false},
		{of(0, 90), of(1, 90), true},
		{of(0, 80), of(0, 90), true},
		{of(0, 90), of(0, 80), false},
		// A year's certificate was replaced by one of 90 days.
		{of(0, 365), of(100, 190), true},
		{of(100, 190), of(0, 365), false},
	} {
		if got := certificate.Older(c.a, c.b); got != c.want {
			t.Errorf("%v to %v older than %v to %v: %v", c.a.NotBefore, c.a.NotAfter, c.b.NotBefore, c.b.NotAfter, got)
		}
	}
}

func TestDoubtIsOfTheEndThatComesAndOfTheBeginningThatHasNotCome(t *testing.T) {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	end := begin.AddDate(0, 0, 30)
	leaf := certificatetest.SelfSigned(t, certificatetest.Options{NotBefore: begin, NotAfter: end}).Certificate
	for _, c := range []struct {
		now  time.Time
		want string
	}{
		{begin.Add(-time.Second), "is not valid before 2026-03-01T12:00:00Z"},
		{begin, ""},
		{end.Add(-certificate.Soon), ""},
		{end.Add(-certificate.Soon + time.Second), "expires in 13 days, at 2026-03-31T12:00:00Z"},
		{end.Add(-time.Hour), "expires in less than a day, at 2026-03-31T12:00:00Z"},
		{end, "expires in less than a day, at 2026-03-31T12:00:00Z"},
		{end.Add(time.Second), "expired at 2026-03-31T12:00:00Z"},
	} {
		if got := certificate.Doubt(leaf, c.now); got != c.want {
			t.Errorf("at %v: %q, want %q", c.now, got, c.want)
		}
	}
}
