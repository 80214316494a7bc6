package resource

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "write the problems that are told into testdata/problems.txt")

// The script holds inputs, each after "=== " and its name, and the problems of
// each after ">>>".
func TestProblemsAreTheScripts(t *testing.T) {
	const script = "testdata/problems.txt"
	data, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	var now strings.Builder
	for part := range strings.SplitSeq(strings.TrimPrefix(string(data), "=== "), "\n=== ") {
		name, rest, _ := strings.Cut(part, "\n")
		input, want, found := strings.Cut(rest, ">>>\n")
		if !found {
			t.Fatalf("%s: no >>> in %q", script, name)
		}
		_, problems := Decode([]byte(input), DecodeOptions{})
		var got strings.Builder
		for _, p := range problems {
			fmt.Fprintln(&got, p)
		}
		if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got.String())); diff != "" && !*update {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		fmt.Fprintf(&now, "=== %s\n%s>>>\n%s\n", name, input, &got)
	}
	if *update {
		if err := os.WriteFile(script, []byte(now.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestADocumentThatIsWrongEverywhereCostsAsOneThatIsToldOf: 1 MiB of text holds half a
// million wrong values, of which nobody hears more than maxProblems.
func TestADocumentThatIsWrongEverywhereCostsAsOneThatIsToldOf(t *testing.T) {
	const many = 3 * maxProblems
	of := func(element string) string { return strings.TrimSuffix(strings.Repeat(element+",", many), ",") }
	keys := func(value string) string {
		var b strings.Builder
		for i := range many {
			fmt.Fprintf(&b, `,"k%d":%s`, i, value)
		}
		return b.String()[1:]
	}
	for name, spec := range map[string]string{
		"not of the type": `"hosts": [` + of("1") + `]`,
		"of a bad form":   `"hosts": [` + of(`""`) + `]`,
		"no mappings":     `"forward": [` + of("1") + `]`,
		"unknown fields":  keys("1"),
		"bad names":       `"requestHeaders": {"set": {` + strings.ReplaceAll(keys(`"v"`), `"k`, `"k `) + `}}`,
		"keys again":      `"a": 1, ` + of(`"a":1`),
	} {
		text := `{"kind": "Route", "name": "a", "spec": {` + spec + `}}`
		root, err := chunk{text: text, line: 1}.parse()
		if err != nil {
			t.Fatal(name, err)
		}
		d := decoder{document: &Document{Index: 1}}
		d.resource(&root)
		c := checker{reported: d.reported}
		c.resource(d.document.Resource)
		if told := max(len(d.problems), len(c.values)); told != maxProblems+1 {
			t.Errorf("%s: %d problems", name, told)
		}
		_, problems := Decode([]byte(text), DecodeOptions{})
		if n := len(problems); n != maxProblems+1 || problems[n-1].Expected != fmt.Sprintf("at most %d", maxProblems) && problems[0].Expected != fmt.Sprintf("at most %d", maxProblems) {
			t.Errorf("%s: %d problems, the last is %v", name, n, problems[n-1])
		}
	}
}

func TestAllThatIsToldHasAPlace(t *testing.T) {
	data, err := os.ReadFile("testdata/problems.txt")
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(string(data), "\n=== ") {
		_, rest, _ := strings.Cut(part, "\n")
		input, _, _ := strings.Cut(rest, ">>>\n")
		docs, problems := Decode([]byte(input), DecodeOptions{File: "f.yaml"})
		for _, p := range problems {
			if p.File != "f.yaml" || p.Document < 1 || p.Document > len(docs) || p.Line < 1 || p.Got == "" || p.Expected == "" {
				t.Errorf("incomplete: %#v", p)
			}
			if !docs[p.Document-1].Broken {
				t.Errorf("document %d has a problem and is not broken: %v", p.Document, p)
			}
		}
	}
}

func TestCheckTellsWhatDecodeTellsOfValues(t *testing.T) {
	for _, file := range []string{"shop.yaml", "edge.yaml", "first.yaml"} {
		docs, problems := decodeFile(t, file)
		var checked []Problem
		for i := range docs {
			for _, p := range Check(docs[i].Resource) {
				if p.Field != "spec.chainFile" && p.Field != "spec.keyFile" { // allowed in files
					checked = append(checked, docs[i].Locate(p))
				}
			}
		}
		if diff := cmp.Diff(problems, checked); diff != "" {
			t.Errorf("%s: (-Decode +Check):\n%s", file, diff)
		}
	}
}

func TestFilesAreRefusedUnlessAllowed(t *testing.T) {
	const input = "kind: Certificate\nname: c\nspec: {chainFile: a.crt, keyFile: a.key}\n"
	_, problems := Decode([]byte(input), DecodeOptions{})
	want := []string{"3 document 1 Certificate/c spec.chainFile", "3 document 1 Certificate/c spec.keyFile"}
	if diff := cmp.Diff(want, places(problems)); diff != "" {
		t.Errorf("not allowed (-want +got):\n%s", diff)
	}
	_, problems = Decode([]byte(input), DecodeOptions{FilesAllowed: true})
	if len(problems) > 0 {
		t.Errorf("allowed: %v", problems)
	}
}

func TestProblemsSurviveTheWire(t *testing.T) {
	p := Problem{
		File: "a.yaml", Document: 2, Line: 7, Kind: Route, Name: "api", Field: "spec.hosts[0]",
		Got: "x", Expected: "y", Suggestion: "z",
	}
	if got := ProblemFromProto(p.Proto()); got != p {
		t.Errorf("got %#v, want %#v", got, p)
	}
	if got := ProblemFromProto(proto.CloneOf((Problem{}).Proto())); got != (Problem{}) {
		t.Errorf("got %#v, want nothing", got)
	}
}

func TestProblemsReadAsOneLine(t *testing.T) {
	tests := map[string]Problem{
		"a.yaml:7: document 2: Route/api: spec.hosts[0]: got x, expected y; did you mean z?": {
			File: "a.yaml", Document: 2, Line: 7, Kind: Route, Name: "api", Field: "spec.hosts[0]", Got: "x", Expected: "y", Suggestion: "z",
		},
		"Route/api: spec.retry: not supported yet":                   {Kind: Route, Name: "api", Field: "spec.retry", Got: "retry", Expected: NotSupported},
		"line 3: Listener/?: spec.protocol: TCP: not supported yet":  {Line: 3, Kind: Listener, Field: "spec.protocol", Got: "TCP", Expected: NotSupported},
		"a.yaml: got 70000000 bytes, expected an input of at most 1": {File: "a.yaml", Got: "70000000 bytes", Expected: "an input of at most 1"},
		"expected less": {Expected: "less"},
		"too much":      {Got: "too much"},
	}
	for want, p := range tests {
		if got := p.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProblemsAreSortedAsTheyAreRead(t *testing.T) {
	problems := []Problem{{File: "b"}, {File: "a", Document: 2, Line: 1}, {File: "a", Document: 1, Line: 9}, {File: "a", Document: 1, Line: 3}}
	SortProblems(problems)
	want := []Problem{{File: "a", Document: 1, Line: 3}, {File: "a", Document: 1, Line: 9}, {File: "a", Document: 2, Line: 1}, {File: "b"}}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}
}
