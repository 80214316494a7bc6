package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

// withPair writes a certificate and its key beside a file that names them.
func withPair(t *testing.T, sh *shell, o certificatetest.Options) (pair *certificatetest.Pair, file, chain, key string) {
	t.Helper()
	pair = certificatetest.SelfSigned(t, o)
	file = sh.file("edge.yaml", "# The edge.\nkind: Certificate\nname: site\nspec:\n  chainFile: site.crt\n  keyFile: site.key\n")
	chain, key = filepath.Join(filepath.Dir(file), "site.crt"), filepath.Join(filepath.Dir(file), "site.key")
	for name, text := range map[string]string{chain: pair.Chain, key: pair.Key} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pair, file, chain, key
}

func TestApplyReadsTheFilesThatResourcesNameBesideTheirs(t *testing.T) {
	sh := newShell(t)
	pair, file, _, _ := withPair(t, sh, certificatetest.Options{Names: []string{"shop.test", "10.0.0.1"}})
	sh.must("apply", "-f", file)
	for _, args := range [][]string{
		{"get", "certificates"},
		{"get", "cert", "-o", "wide"},
		{"get", "c/site", "-o", "yaml"},
		{"get", "c/site", "-o", "json"},
		{"get", "all", "-o", "yaml"},
		{"describe", "c/site"},
		{"describe", "c/site", "-o", "json"},
		{"history"},
		{"history", "1"},
	} {
		if text := sh.must(args...); pair.Leaks([]byte(text)) {
			t.Errorf("%v shows the private key:\n%s", args, text)
		}
	}
	if text := sh.fails(statusFailed, "diff", "0", "1"); pair.Leaks([]byte(text)) {
		t.Errorf("diff shows the private key:\n%s", text)
	}
	text := sh.must("get", "certificates")
	contains(t, text, "shop.test,10.0.0.1", "ECDSA P-256", "days")
	contains(t, sh.must("get", "c", "-o", "wide"), "KEY FINGERPRINT", "sha256:")
	contains(t, sh.must("delete", "-f", file), "deleted") // needs no key
}

func TestProblemsOfNamedFilesAreToldWhereTheyAreNamed(t *testing.T) {
	sh := newShell(t)
	pair, file, _, key := withPair(t, sh, certificatetest.Options{})
	other := certificatetest.SelfSigned(t, certificatetest.Options{})
	if err := os.WriteFile(key, []byte(other.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	text := sh.fails(statusFailed, "apply", "-f", file)
	contains(t, text, "edge.yaml:6", "spec.keyFile", "site.key: a key with the fingerprint")
	if pair.Leaks([]byte(text)) || other.Leaks([]byte(text)) {
		t.Errorf("the private key is shown:\n%s", text)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	contains(t, sh.fails(statusCannotCompare, "diff", "-f", file)+sh.fails(statusFailed, "apply", "-f", file), "edge.yaml:6", "no such file")
}

// TestEveryFileOfAFolderThatNamesAMissingOneIsTold, and what else is wrong in the folder: who
// renews twenty certificates would mend one, and try again, twenty times.
func TestEveryFileOfAFolderThatNamesAMissingOneIsTold(t *testing.T) {
	sh := newShell(t)
	_, file, _, _ := withPair(t, sh, certificatetest.Options{})
	dir := filepath.Dir(file)
	for name, text := range map[string]string{
		"a.yaml": "kind: Certificate\nname: a\nspec:\n  chainFile: a.crt\n  keyFile: a.key\n",
		"b.yaml": "kind: Route\nname: b\nspec: {respond: {status: 200}}\n---\nkind: Route\nname: odd\nspec:\n  respond: {status: 99}\n",
		"f.yaml": "kind: Route\nname: b\nspec: {respond: {status: 200}}\n",
		"g.yaml": "kind: Certificate\nname: g\nspec:\n  chainFile: site.crt\n  keyFile: g.key\n---\nkind: Listener\nname: l\nspec: {port: 0, protocol: HTTP}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.ReplaceAll(sh.fails(statusFailed, "apply", "-f", dir), dir+string(filepath.Separator), "")
	places := regexp.MustCompile(`(?m)^(\S+:\d+: \S+/\S+: [^: ]+): .*\n`).ReplaceAllString(got, "$1\n")
	want := `a.yaml:4: Certificate/a: spec.chainFile
a.yaml:5: Certificate/a: spec.keyFile
b.yaml:8: Route/odd: spec.respond.status
f.yaml:2: Route/b: name
g.yaml:5: Certificate/g: spec.keyFile
g.yaml:9: Listener/l: spec.port
error: refused: 6 problems; nothing was changed
`
	if places != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	contains(t, got, "the first is at b.yaml:1")
	if sh.server.Revision() != 0 {
		t.Errorf("revision %d, want 0", sh.server.Revision())
	}
}

func TestACertificateIsCreatedFromItsFiles(t *testing.T) {
	sh := newShell(t)
	pair, _, chain, key := withPair(t, sh, certificatetest.Options{})
	dry := sh.must("create", "certificate", "site", "--cert", chain, "--key", key, "--dry-run", "-o", "yaml")
	contains(t, dry, "chainFile: ", "keyFile: ")
	if pair.Leaks([]byte(dry)) {
		t.Errorf("the private key is shown:\n%s", dry)
	}
	contains(t, sh.must("create", "certificate", "site", "--chain", chain, "--key", key), "Certificate/site created")
	contains(t, sh.fails(statusFailed, "create", "certificate", "site", "--chain", chain, "--key", key), "exists already")
	sh.must("create", "listener", "site", "--port", "8443", "--certificate", "site")
	contains(t, sh.must("get", "listener", "site", "-o", "yaml"), "protocol: HTTPS", "- site")
	contains(t, sh.fails(statusWrongUse, "create", "listener", "other", "--port", "8444", "--protocol", "https"), "needs --certificate")
	contains(t, sh.fails(statusWrongUse, "create", "listener", "other", "--port", "8444", "--protocol", "tcp", "--certificate", "site"), "leave out --protocol")
	contains(t, sh.must("__complete", "create", "listener", "--certificate", ""), "site\n")
	contains(t, sh.fails(statusWrongUse, "create", "certificate", "site", "--key", key), "chain")
	contains(t, sh.fails(statusFailed, "create", "certificate", "swapped", "--chain", key, "--key", chain), "a private key")
}

func TestRemainingTimeIsToldInDays(t *testing.T) {
	for left, want := range map[time.Duration]string{
		-time.Second: "EXPIRED", time.Hour: "< 1 day", 25 * time.Hour: "1 day", 90 * 24 * time.Hour: "90 days",
	} {
		if got := leftText(left); got != want {
			t.Errorf("%v: %q, want %q", left, got, want)
		}
	}
}

func TestKeptCertificatesAndWarningsAreTold(t *testing.T) {
	end := time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	var b strings.Builder
	writeKept(&b, []api.KeptCertificate{
		{Name: "a", Reason: api.KeptOlder, NotAfter: end.AddDate(0, -1, 0), InForce: &end}, {Name: "b", Reason: api.KeptExpired, NotAfter: end.AddDate(-1, 0, 0)},
	}, false)
	writeWarnings(&b, []api.Warning{{Kind: "Certificate", Name: "c", Message: "expires in 3 days"}, {Message: "etcd is short of room"}}, false)
	want := fmt.Sprintf("%s\n%s\n%s\n%s\n",
		"Certificate/a kept: the one of that revision, which ends on 2026-12-02, was issued before the one in force: the one that ends on 2027-01-02 stays (--with-certificates brings it back)",
		"Certificate/b kept: the one of that revision, which ends on 2026-01-02, has expired: there is none now (--with-certificates brings it back)",
		"warning: Certificate/c expires in 3 days",
		"warning: etcd is short of room")
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
