package resource

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// FuzzDecode: no input makes Decode panic; what it accepts passes Check, prints
// and reads back as the same resource; what it tells has a place in the input.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		for _, document := range bytes.Split(data, []byte("---\n")) {
			f.Add(document)
		}
	}
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, problems := Decode(data, DecodeOptions{})
		lines := 1 + strings.Count(string(newlines(data)), "\n")
		broken := 0
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines {
				t.Errorf("a problem on line %d of %d: %v", p.Line, lines, p)
			}
			if p.Expected == "" || p.Error() == "" {
				t.Errorf("a problem without words: %#v", p)
			}
		}
		for i := range docs {
			d := &docs[i]
			if d.Index != i+1 || d.Line < 1 || d.Line > lines {
				t.Errorf("document %d has index %d and line %d of %d", i+1, d.Index, d.Line, lines)
			}
			if d.Broken {
				broken++
				continue
			}
			checkRoundTrip(t, d)
		}
		if (broken == 0) != (len(problems) == 0) && len(docs) > 0 {
			t.Errorf("%d broken documents, but problems %v", broken, problems)
		}
	})
}

func checkRoundTrip(t *testing.T, d *Document) {
	t.Helper()
	if problems := Check(d.Resource); len(problems) > 0 {
		t.Errorf("decoding accepts what Check does not: %v", problems)
	}
	canonical, err := Canonical(d.Resource)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse(canonical)
	if err != nil || !proto.Equal(parsed, d.Resource) {
		t.Errorf("canonical bytes do not parse back: %v", err)
	}
	yaml, err := AppendYAML(nil, d.Resource)
	if err != nil {
		t.Fatal(err)
	}
	json, err := AppendJSON(nil, d.Resource)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{yaml, json} {
		again, problems := Decode(text, DecodeOptions{})
		if len(problems) > 0 || len(again) != 1 || !proto.Equal(again[0].Resource, d.Resource) {
			t.Errorf("does not read back: %v, of:\n%s", problems, text)
		}
	}
	WithDefaults(d.Resource)
}

// fuzzSeeds reach what the examples do not.
var fuzzSeeds = []string{
	"", "---", "...\n---\n", "# only a comment", "%YAML 1.2\n---\na: b\n", "\ufeffkind: Node\nname: n1\nspec: {expected: true}\n",
	`{"kind":"Node","name":"n1","spec":{"expected":true}}` + "\n" + `{"kind":"Node","name":"n2","spec":{}}`,
	"{\n\t\"kind\": \"Route\",\n\t\"name\": \"r\",\n\t\"spec\": {\"respond\": {\"status\": 200, \"body\": \"\\ud83d\\ude00\"}}\n}",
	"kind: Node\nname: &a n1\nspec: {<<: *a}\n", "kind: !!str Node\n", "? kind\n: Node\n", "kind: Node\nkind: Node\nname: n\n",
	"kind: Route\nname: r\nspec:\n  match: {path: {regex: '/a(b|c)+'}, methods: [get], clientCIDRs: [10.0.0.1/8]}\n  respond: {status: 200, body: |\n    a\n\n     b\n  }\n",
	"kind: Route\nname: r\nspec:\n  respond:\n    status: 200\n    body: |+\n      a\n\n      b\n\n    headers: {x-a: \"1\"}\n",
	"kind: Route\nname: r\nspec:\n  match: {path: {prefix: /a}}\n  rewrite: {regex: {pattern: '/(?P<x>.*)', substitution: '/${x}$1$$'}}\n  forward: [{upstream: u, weight: 0}]\n",
	"kind: Listener\nname: web\nspec: {port: 0x50, protocol: HTTP, addresses: [NODE, \"::1\", vip/a], limits: {header: 64KiB, body: 10}, timeouts: {idle: 1m30s}, trustedProxies: [::1]}\n",
	"kind: Upstream\nname: u\nspec:\n  endpoints:\n  - address: \"[::1]:80\"\n  - address: unix:/run/x\n  - {address: a.b:80, weight: 0}\n  pool: {idleTimeout: 1.5s}\n",
	"kind: Route\nname: r\nspec: {respond: {status: 204}, match: {clientCIDRs: [::1/128, a:b:c, :, a:, \"q\":1, ::]}}\n",
	strings.Repeat("[", 100), strings.Repeat("- ", 100), strings.Repeat("{a: ", 40), "a:\n" + strings.Repeat(" ", 40) + "b: c\n",
	"kind: Node\r\nname: n1\r\nspec: {}\r\n---\r\nkind: Node\rname: n2\r", "a: 'b\n---\nc: d", "--- |\n kind: Node\n...\n--- {kind: Node, name: n}\n",
}
