package resource

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/proxyfleet/proxyfleet/proto/certificate"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

func newCertificate(p *certificatetest.Pair) *fleetv1.Resource {
	return &fleetv1.Resource{
		Kind: proto.String(Certificate), Name: proto.String("site"),
		Spec: &fleetv1.Resource_Certificate{Certificate: &fleetv1.Certificate{Chain: proto.String(p.Chain), Key: proto.String(p.Key)}},
	}
}

func TestPrintedCertificatesHaveAFingerprintInPlaceOfTheirKey(t *testing.T) {
	p := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	r := newCertificate(p)
	yaml, err := AppendYAML(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	json, err := AppendJSON(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	if p.Leaks(yaml) || p.Leaks(json) || !strings.Contains(string(yaml), "keyFingerprint: sha256:") {
		t.Errorf("printed as %s and %s", yaml, json)
	}
	if r.GetCertificate().Key == nil {
		t.Error("printing took the key away")
	}
	for _, text := range [][]byte{yaml, json} {
		docs, problems := Decode(text, DecodeOptions{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		whole, problem := Restore(docs[0].Resource, r)
		if problem != nil {
			t.Fatal(problem)
		}
		if diff := cmp.Diff(r, whole, protocmp.Transform()); diff != "" {
			t.Errorf("what is shown, written back, is another certificate:\n%s", diff)
		}
	}
	secret, err := AppendSecretJSON(nil, r)
	if err != nil || !p.Leaks(secret) {
		t.Errorf("sent as %s, %v: the key is not in it", secret, err)
	}
	if !Secret(Certificate) || Secret(Route) {
		t.Error("certificates are secret, and routes are not")
	}
}

func TestAFingerprintStandsForTheKeyThatIsKeptAndNoOther(t *testing.T) {
	p := certificatetest.SelfSigned(t, certificatetest.Options{})
	other := certificatetest.SelfSigned(t, certificatetest.Options{})
	r := newCertificate(p)
	r.GetCertificate().Key = nil
	r.GetCertificate().KeyFingerprint = proto.String(certificate.KeyFingerprint(p.Signer.Public()))
	for name, kept := range map[string]*fleetv1.Resource{"nothing is kept": nil, "another is kept": newCertificate(other)} {
		if _, problem := Restore(r, kept); problem == nil || problem.Field != "spec.keyFingerprint" {
			t.Errorf("%s: %v", name, problem)
		}
	}
	if problems := Check(r); len(problems) != 1 || problems[0].Field != "spec.keyFingerprint" {
		t.Errorf("bytes with a fingerprint: %v", problems)
	}
	r.GetCertificate().KeyFingerprint = proto.String(certificate.KeyFingerprint(other.Signer.Public()))
	text, err := AppendYAML(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := Decode(text, DecodeOptions{}); len(problems) != 1 || problems[0].Field != "spec.keyFingerprint" {
		t.Errorf("the fingerprint of another key: %v", problems)
	}
}

func TestCertificateProblemsHaveTheirPlaceAndNoKey(t *testing.T) {
	p := certificatetest.SelfSigned(t, certificatetest.Options{})
	other := certificatetest.SelfSigned(t, certificatetest.Options{})
	block := func(s string) string { return " |\n    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ") }
	document := func(chain, key string) string {
		return "kind: Certificate\nname: site\nspec:\n  chain:" + chain + "\n  key:" + key + "\n"
	}
	keyLine := 5 + strings.Count(strings.TrimSpace(p.Chain), "\n") + 1
	tests := map[string]struct {
		text string
		want []string
	}{
		"good":          {document(block(p.Chain), block(p.Key)), nil},
		"another's key": {document(block(p.Chain), block(other.Key)), []string{fmt.Sprintf("%d document 1 Certificate/site spec.key", keyLine)}},
		"swapped":       {document(block(p.Key), block(p.Chain)), []string{"4 document 1 Certificate/site spec.chain", ""}},
		"nothing":       {"kind: Certificate\nname: site\nspec: {}\n", []string{"3 document 1 Certificate/site spec.chain", "3 document 1 Certificate/site spec.key"}},
		"a list":        {document(block(p.Chain), " ["+strings.Split(p.Key, "\n")[1]+"]"), []string{fmt.Sprintf("%d document 1 Certificate/site spec.key", keyLine)}},
		"a number":      {document(block(p.Chain), " 123456789012345678901234"), []string{""}},
		"no indent":     {document(block(p.Chain), " |\n"+p.Key), []string{""}},
		"a name":        {"kind: Certificate\nname: \"" + strings.ReplaceAll(p.Key, "\n", " ") + "\"\nspec: {}\n", []string{"", "", ""}},
		"a kind":        {"kind: \"" + strings.ReplaceAll(p.Key, "\n", " ") + "\"\n", []string{""}},
		"a field":       {"kind: Certificate\nname: site\nspec: {\"" + strings.ReplaceAll(p.Key, "\n", " ") + "\": x}\n", []string{"", "", ""}},
		"half a JSON":   {`{"kind": "Certificate", "spec": {"key": "` + strings.ReplaceAll(p.Key, "\n", `\n`), []string{""}},
	}
	for name, test := range tests {
		_, problems := Decode([]byte(test.text), DecodeOptions{File: "a.yaml"})
		got := places(problems)
		if len(got) != len(test.want) {
			t.Errorf("%s: %d problems: %v", name, len(got), problems)
			continue
		}
		for i, p2 := range problems {
			if test.want[i] != "" && test.want[i] != got[i] {
				t.Errorf("%s: problem %s, want %s", name, got[i], test.want[i])
			}
			if p.Leaks([]byte(p2.Error())) || other.Leaks([]byte(p2.Error())) || strings.Contains(p2.Error(), "1234567890") {
				t.Errorf("%s: the problem shows the key: %v", name, p2)
			}
		}
	}
}

func TestFilesAreInlinedAndEveryLineStaysWhereItWas(t *testing.T) {
	p := certificatetest.SelfSigned(t, certificatetest.Options{})
	read := func(name string) ([]byte, error) {
		switch name {
		case "site.crt":
			return []byte(p.Chain), nil
		case "site.key":
			return []byte(strings.ReplaceAll(p.Key, "\n", "\r\n")), nil
		}
		return nil, errors.New("open " + name + ": no such file")
	}
	const input = "# A comment.\nkind: Upstream\nname: u\nspec: {endpoints: [{address: \"10.0.0.1:80\"}]}\n---\n# Another.\n\nkind: Certificate\n" +
		"name: site\nspec:\n  chainFile: site.crt # here\n  keyFile: site.key\n\n--- {kind: Route, name: r, spec: {bad: x}}\n" +
		"---\n{\"kind\": \"Certificate\", \"name\": \"two\", \"spec\": {\"chainFile\": \"site.crt\",\n \"keyFile\": \"site.key\"}}\n{\"kind\": \"Policy\", \"name\": \"p\", \"spec\": {}}\n"
	out, problems := InlineFiles([]byte(strings.Replace(input, `{"kind": "Policy", "name": "p", "spec": {}}`, "", 1)), "a.yaml", read)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if a, b := strings.Count(input, "\n"), strings.Count(string(out), "\n"); a != b {
		t.Errorf("%d lines became %d", a, b)
	}
	docs, problems := Decode(out, DecodeOptions{File: "a.yaml"})
	if diff := cmp.Diff([]string{"14 document 3 Route/r spec", "14 document 3 Route/r spec.bad"}, places(problems)); diff != "" {
		t.Errorf("problems of the rest (-want +got):\n%s", diff)
	}
	var lines []int
	for _, d := range docs {
		lines = append(lines, d.Line)
	}
	if diff := cmp.Diff([]int{2, 8, 14, 16}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if got := docs[1].Resource.GetCertificate().GetKey(); got != p.Key {
		t.Errorf("the key is %d bytes, want %d", len(got), len(p.Key))
	}
	if problems := Check(docs[3].Resource); len(problems) > 0 {
		t.Error(problems)
	}
	same := []byte("kind: Route\nname: r\nspec: {}\n")
	if out, _ := InlineFiles(same, "", nil); string(out) != string(same) {
		t.Errorf("without files: %s", out)
	}
}

func TestProblemsOfInlinedFilesAreToldWhereTheFileIsNamed(t *testing.T) {
	p := certificatetest.SelfSigned(t, certificatetest.Options{})
	other := certificatetest.SelfSigned(t, certificatetest.Options{})
	read := func(name string) ([]byte, error) {
		switch name {
		case "site.crt":
			return []byte(p.Chain), nil
		case "site.key":
			return []byte(p.Key), nil
		case "other.key":
			return []byte(other.Key), nil
		case "der":
			return []byte{0x30, 0x82}, nil
		case "large":
			return make([]byte, MaxSize+1), nil
		}
		return nil, errors.New("open " + name + ": no such file")
	}
	for name, want := range map[string]string{
		"other.key": "a.yaml:5: document 1: Certificate/site: spec.keyFile: got other.key: a key with the fingerprint",
		"none":      "a.yaml:5: document 1: Certificate/site: spec.keyFile: got none: no such file, expected a file that can be read",
		"der":       "with a byte that is not UTF-8 on line 1, expected a text file (PEM)",
		"large":     "with 262145 bytes, expected a file of at most 256 KiB",
	} {
		text := "kind: Certificate\nname: site\nspec:\n  chainFile: site.crt\n  keyFile: " + name + "\n"
		out, problems := InlineFiles([]byte(text), "a.yaml", read)
		if out != nil || len(problems) != 1 || !strings.Contains(problems[0].Error(), want) || other.Leaks([]byte(problems[0].Error())) {
			t.Errorf("%s: %v, want %s", name, problems, want)
		}
	}
	both := "kind: Certificate\nname: site\nspec: {chainFile: site.crt, keyFile: site.key, keyFingerprint: " + certificate.KeyFingerprint(p.Signer.Public()) + "}\n"
	if _, problems := InlineFiles([]byte(both), "a.yaml", read); len(problems) != 1 || problems[0].Field != "spec.keyFingerprint" {
		t.Errorf("a key and its file: %v", problems)
	}
}
