package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

// testsslPart are checks that are made together, beside the others.
type testsslPart struct {
	name   string
	checks []string
	// good must be among the findings, and good: else testssl has looked at nothing.
	good []string
}

// testsslQuick are those that take seconds: protocols and kinds of ciphers.
// TESTSSL=all adds ciphers with forward secrecy, what a server prefers, its
// defaults and certificates, header fields and all known vulnerabilities.
var (
	testsslQuick = []testsslPart{
		{"protocols", []string{"-p"}, []string{"SSLv2", "SSLv3", "TLS1_2", "TLS1_3"}},
		{"kinds of ciphers", []string{"-s"}, []string{"cipherlist_NULL", "cipherlist_aNULL", "cipherlist_EXPORT", "cipherlist_LOW", "cipherlist_STRONG"}},
	}
	testsslMore = testsslPart{"all else", []string{"-f", "-P", "-S", "-h", "-U"}, []string{
		"PFS", "cipher_order", "heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_renego", "CRIME_TLS", "POODLE_SSL", "SWEET32",
		"DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4",
	}}
)

// testsslOther are findings about the tests' own certificate authority, whose
// certificates nobody trusts or revokes, and about header fields, which are those of
// whoever configures the routes.
var testsslOther = []string{
	"cert_trust", "cert_chain_of_trust", "cert_expirationStatus", "cert_notAfter", "cert_revocation", "cert_crlDistributionPoints",
	"cert_ocspURL", "OCSP_stapling", "DNS_CAArecord", "certificate_transparency",
	"HTTP_status_code", "HTTP_clock_skew", "HSTS", "HPKP", "banner_server", "banner_application", "cookie_count", "security_headers",
	"X-Frame-Options", "X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control", "Pragma", "BREACH_header",
}

// finding is one of testssl's.
type finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Finding  string `json:"finding"`
}

// TestTestsslFindsNothingAboveLow looks at a listener that has a certificate with an
// ECDSA key and one with an RSA key.
func TestTestsslFindsNothingAboveLow(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("testssl")
	if err != nil {
		t.Skip("testssl is not installed (Debian: testssl.sh)")
	}
	parts, patience := testsslQuick, 5*time.Minute
	if all := os.Getenv("TESTSSL"); all != "" {
		if all != "all" {
			t.Fatalf("TESTSSL=%q: expected all, or nothing", all)
		}
		parts, patience = append(slices.Clone(parts), testsslMore), 30*time.Minute
	}
	root := certificatetest.Root(t, "root")
	names := []string{"shop.test"}
	node := fleettest.Standalone(t, "kind: Listener\nname: https\nspec: {port: 8443, protocol: HTTPS, tls: {certificates: [ecdsa, rsa]}}\n---\n"+
		certificateDocument(t, "ecdsa", root.Issue(t, certificatetest.Options{Names: names}))+
		certificateDocument(t, "rsa", root.Issue(t, certificatetest.Options{Names: names, Key: certificatetest.RSA(t, 2048)}))+
		pingRoute+"one}}\n")
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			part.check(ctx, t, program, node.Address+":8443")
		})
	}
}

func (p *testsslPart) check(ctx context.Context, t *testing.T, program, address string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "findings.json")
	args := slices.Concat([]string{"--quiet", "--color", "0", "--warnings", "off", "--jsonfile", file}, p.checks, []string{address})
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput() // its status is a number of findings
	text, readErr := os.ReadFile(file)
	var findings []finding
	if readErr == nil {
		readErr = json.Unmarshal(text, &findings)
	}
	if readErr != nil {
		t.Fatalf("testssl: %v, %v\n%s", err, readErr, out)
	}
	checkFindings(t, findings, p.good)
}

func checkFindings(t *testing.T, findings []finding, good []string) {
	t.Helper()
	var keys, excluded []string
	are := make(map[string]string)
	for _, f := range findings {
		id, _, _ := strings.Cut(f.ID, " ") // of a certificate: which one
		are[id] = f.Severity
		if id == "cert_keySize" {
			keys = append(keys, f.Finding)
		}
		switch f.Severity {
		case "OK", "INFO", "LOW", "DEBUG":
			continue
		case "WARN": // what testssl could not do
			t.Logf("%s: %s", f.ID, f.Finding)
			continue
		}
		if slices.Contains(testsslOther, id) {
			excluded = append(excluded, id)
			continue
		}
		t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
	}
	for _, id := range good {
		if are[id] != "OK" {
			t.Errorf("%s is %q, expected OK", id, are[id])
		}
	}
	if are["cert_keySize"] != "" && len(keys) != 2 {
		t.Errorf("certificates were seen with keys of %q", keys)
	}
	slices.Sort(excluded)
	t.Logf("%d findings; of our own authority and of header fields: %q", len(findings), slices.Compact(excluded))
}
