package certificate

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Info is what people want to know of a certificate.
type Info struct {
	Names       []string // DNS names and addresses (the subject alternative names)
	Subject     string
	Issuer      string
	NotBefore   time.Time
	NotAfter    time.Time
	Fingerprint string // SHA-256 of the certificate
	KeyType     string // "ECDSA P-256"
	// KeyFingerprint names the key: SHA-256 of its public half.
	KeyFingerprint string
}

// Describe says what a leaf is.
func Describe(leaf *x509.Certificate) Info {
	i := Info{
		Names:   append([]string(nil), leaf.DNSNames...),
		Subject: name(leaf), Issuer: issuer(leaf),
		NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(),
		KeyType: KeyType(leaf.PublicKey), KeyFingerprint: KeyFingerprint(leaf.PublicKey),
	}
	for _, ip := range leaf.IPAddresses {
		i.Names = append(i.Names, ip.String())
	}
	sum := sha256.Sum256(leaf.Raw)
	i.Fingerprint = fingerprint(sum)
	return i
}

// Soon is how long before its end a certificate is warned of: renewal tools renew at 30
// days, so that one with less was forgotten.
const Soon = 14 * 24 * time.Hour

// Doubt is what is wrong at a time with when a certificate is good, after its name: that it
// has expired, is not valid yet, or ends within [Soon]. Empty: nothing.
func Doubt(leaf *x509.Certificate, now time.Time) string {
	left, end := leaf.NotAfter.Sub(now), leaf.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case left < 0:
		return "expired at " + end
	case now.Before(leaf.NotBefore):
		return "is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)
	case left < 24*time.Hour:
		return "expires in less than a day, at " + end
	case left < Soon:
		return fmt.Sprintf("expires in %d days, at %s", int(left/(24*time.Hour)), end)
	default:
		return ""
	}
}

// Older says whether a is to be taken for older than b: it began earlier, or at the
// same time and ends earlier. A certificate begins when it is issued, give or take the
// hour that authorities date it back; its end says more of whose it is: one of 90 days
// that took the place of one of a year ends before it.
func Older(a, b *x509.Certificate) bool {
	if c := a.NotBefore.Compare(b.NotBefore); c != 0 {
		return c < 0
	}
	return a.NotAfter.Before(b.NotAfter)
}

// KeyFingerprint is "sha256:" and the SHA-256 of the key's SubjectPublicKeyInfo.
func KeyFingerprint(public crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "" // of what supported refuses
	}
	return fingerprint(sha256.Sum256(der))
}

const fingerprintPrefix = "sha256:"

func fingerprint(sum [sha256.Size]byte) string { return fingerprintPrefix + hex.EncodeToString(sum[:]) }

// ValidFingerprint says whether s has the form of a fingerprint.
func ValidFingerprint(s string) bool {
	digits, ok := strings.CutPrefix(s, fingerprintPrefix)
	sum, err := hex.DecodeString(digits)
	return ok && err == nil && len(sum) == sha256.Size && digits == strings.ToLower(digits)
}

// KeyType names the kind of a key.
func KeyType(public crypto.PublicKey) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "an unknown type"
}

// name is what a certificate is called.
func name(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return shortened(cmp.Or(c.Subject.CommonName, c.DNSNames[0]))
	}
	return shortened(cmp.Or(c.Subject.CommonName, c.Subject.String(), "without a name"))
}

func issuer(c *x509.Certificate) string {
	return shortened(cmp.Or(c.Issuer.CommonName, c.Issuer.String(), "without a name"))
}

// maxName bounds what is shown of a name, which whoever made the certificate wrote.
const maxName = 80

func shortened(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "") + "…"
	}
	return s
}
