package resource

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLinesAreThoseOfTheInput(t *testing.T) {
	node := func(name string) string { return "kind: Node\nname: " + name + "\nspec:\n  bad: 1\n" }
	tests := map[string]struct {
		input string
		want  []string
	}{
		"comments and blank lines before, between and after": {
			"# one\n\n" + node("a") + "# two\n---\n\n# three\n---  # four\n" + node("b") + "\n# five\n---\n",
			[]string{"6 document 1 Node/a spec.bad", "15 document 2 Node/b spec.bad"},
		},
		"a separator first, and the end of a document": {
			"---\n" + node("a") + "...\n---\n" + node("b"),
			[]string{"5 document 1 Node/a spec.bad", "11 document 2 Node/b spec.bad"},
		},
		"line breaks of Windows": {
			strings.ReplaceAll(node("a")+"---\n"+node("b"), "\n", "\r\n"),
			[]string{"4 document 1 Node/a spec.bad", "9 document 2 Node/b spec.bad"},
		},
		"a byte order mark": {"\ufeff" + node("a"), []string{"4 document 1 Node/a spec.bad"}},
		"files with byte order marks, one behind the other": {
			"\ufeff# one\n" + node("a") + "\ufeff---\n" + node("b") + "---\n\ufeff" + node("c") + "---\n\ufeff{\"kind\": \"Node\", \"name\": \"d\",\n\"spec\": {\"bad\": 1}}",
			[]string{"5 document 1 Node/a spec.bad", "10 document 2 Node/b spec.bad", "15 document 3 Node/c spec.bad", "18 document 4 Node/d spec.bad"},
		},
		"a separator with a value on its line": {
			"--- {kind: Node, name: a, spec: {bad: 1}}\n--- {kind: Node, name: b, spec: {bad: 1}}\n",
			[]string{"1 document 1 Node/a spec.bad", "2 document 2 Node/b spec.bad"},
		},
		"dashes inside of block scalars, that separate nothing": {
			"kind: Route\nname: a\nspec:\n  respond:\n    status: 200\n    body: |\n      a\n      ---\n      # b\n      ----\n\n      ... c\n    bad: 1\n",
			[]string{"13 document 1 Route/a spec.respond.bad"},
		},
		"scalars of several lines": {
			"kind: Route\nname: a\nspec:\n  respond:\n    status: 200\n    body: \"a\n      b\n\n      c\"\n    bad: 1\n    headers: {x: 'a\n       b'}\n  worse: 1\n",
			[]string{"10 document 1 Route/a spec.respond.bad", "13 document 1 Route/a spec.worse"},
		},
		"elements of lists": {
			"kind: Upstream\nname: a\nspec:\n  endpoints:\n  -\n    address: x\n  - weight: 1\n\n    address: y\n  - {weight: 1,\n     address: z}\n",
			[]string{
				"6 document 1 Upstream/a spec.endpoints[0].address", "9 document 1 Upstream/a spec.endpoints[1].address",
				"11 document 1 Upstream/a spec.endpoints[2].address",
			},
		},
		"JSON over lines": {
			"{\"kind\": \"Node\",\n\"name\": \"a\",\n\"spec\":\n{\n\n\"bad\": 1}}\n\n{\"kind\": \"Node\", \"name\": \"b\",\n\t\"spec\": {\"bad\": []}\n}\n---\n" + node("c"),
			[]string{"6 document 1 Node/a spec.bad", "9 document 2 Node/b spec.bad", "15 document 3 Node/c spec.bad"},
		},
	}
	for name, test := range tests {
		_, problems := Decode([]byte(test.input), DecodeOptions{})
		if diff := cmp.Diff(test.want, places(problems)); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%v", name, diff, problems)
		}
	}
}

func TestEmptyInputsHoldNothing(t *testing.T) {
	for _, input := range []string{"", "\n\n", "# a\n", "---\n", "---\n---\n...\n# a\n---\n", "\ufeff"} {
		if docs, problems := Decode([]byte(input), DecodeOptions{}); len(docs)+len(problems) > 0 {
			t.Errorf("%q: %v, %v", input, docs, problems)
		}
	}
}

func TestLineOfFollowsPaths(t *testing.T) {
	docs, problems := Decode([]byte("kind: Route\nname: a\nlabels:\n  b/c: d\nspec:\n  respond:\n    status: 200\n  hosts:\n    - a.b\n    - c.d\n"), DecodeOptions{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for path, want := range map[string]int{
		"": 1, "kind": 1, "name": 2, `labels["b/c"]`: 4, "spec": 5, "spec.respond.status": 7, "spec.hosts": 8, "spec.hosts[1]": 10,
		"spec.hosts[7]": 8, "spec.match.path": 5, "nothing": 1, "spec.respond.body": 6, "spec[": 5, "spec.hosts[x]": 8,
	} {
		if got := docs[0].LineOf(path); got != want {
			t.Errorf("%q is on line %d, want %d", path, got, want)
		}
	}
}

func TestLineOfWithoutADocumentIsItsLine(t *testing.T) {
	docs, _ := Decode([]byte("{\"kind\": \"Node\"}\n{\"kind\": "), DecodeOptions{})
	if len(docs) != 2 || docs[0].LineOf("kind") != 1 || docs[1].LineOf("kind") != docs[1].Line {
		t.Errorf("got %v", docs)
	}
	if got := (&Document{Line: 7}).LineOf("spec"); got != 7 {
		t.Errorf("got %d", got)
	}
}

func TestPathsReadBack(t *testing.T) {
	for _, p := range []path{
		{{key: "spec"}, {key: "endpoints"}, {index: 0}, {key: "address"}},
		{{index: 3}, {index: 4}},
		{{key: "labels"}, {key: "a.b/c"}},
		{{key: "labels"}, {key: `"]`}, {key: "x"}},
		{{key: "labels"}, {key: "[0]"}},
		nil,
	} {
		if got := parsePath(p.String()); got.String() != p.String() || len(got) != len(p) {
			t.Errorf("%s reads back as %s", p, got)
		}
	}
}

func TestHostileInputsAreRefusedBeforeTheyCost(t *testing.T) {
	tests := map[string]struct{ input, want string }{
		"keys":                  {strings.Repeat("a: b\n", 100_000), "at most 1000 keys in one mapping"},
		"keys in an element":    {"- " + strings.Repeat("a: b\n  ", 100_000), "at most 1000 keys in one mapping"},
		"keys of a flow":        {"{" + strings.Repeat("a,", 100_000) + "}", "at most 250 keys or elements without a value"},
		"keys without values":   {strings.Repeat("- a:\n", 100_000), "at most 250 keys or elements without a value"},
		"elements without":      {strings.Repeat("-\n", 100_000), "at most 250 keys or elements without a value"},
		"flow values without":   {"[" + strings.Repeat("{a:},", 100_000) + "]", "at most 250 keys or elements without a value"},
		"blank lines":           {"a: |\n  " + strings.Repeat("\n", 100_000), "at most 5000 in one document"},
		"explicit keys":         {strings.Repeat("? a\n", 100_000), "key: value"},
		"brackets":              {strings.Repeat("[", 100_000), "at most 32 levels"},
		"dashes":                {strings.Repeat("- ", 100_000), "at most 32 levels"},
		"brackets of JSON":      {`{"a":` + strings.Repeat("[", 100_000), "at most 32 levels"},
		"a long text":           {"a: " + strings.Repeat("b", maxText), "at most 1 MiB of text in one document"},
		"a long value of JSON":  {`{"a":"` + strings.Repeat("b", maxText) + `"}`, "at most 1 MiB of text in one document"},
		"a long input":          {strings.Repeat(" ", maxInput+1), "an input of at most 64 MiB"},
		"many documents":        {strings.Repeat("a\n---\n", maxDocuments+1), fmt.Sprintf("at most %d", maxProblems)},
		"many documents of one": {strings.Repeat(`{"kind":"Node","name":"a","spec":{}}`, 20_000), fmt.Sprintf("at most %d", maxProblems)},
		"a NUL":                 {"kind: \x00", "printable text in UTF-8"},
		"elements of JSON":      {`{"a":[` + strings.Repeat("1,", maxText), "at most 100000 elements and keys in one document"},
		"elements":              {"[" + strings.Repeat("1,", maxText/4) + "1]", "at most 100000 elements and keys in one document"},
		"elements in quotes":    {`{"a": [` + strings.Repeat("1,", maxText/4) + "b]}", "at most 100000 elements and keys in one document"},
		"keys of JSON":          {"{" + strings.Repeat(`"a":1,`, maxElements+1) + `"b":1}`, "at most 100000 elements and keys in one document"},
		"a bad byte":            {"kind: \xff", "printable text in UTF-8"},
		"bytes of another file": {"\xff\xd8\xff", "printable text in UTF-8"},
	}
	for name, test := range tests {
		_, problems := Decode([]byte(test.input), DecodeOptions{})
		if len(problems) == 0 || problems[len(problems)-1].Expected != test.want {
			t.Errorf("%s: got %v, want one that expects %q", name, problems[max(0, len(problems)-1):], test.want)
		}
		if len(problems) > maxProblems+1 {
			t.Errorf("%s: %d problems", name, len(problems))
		}
	}
}

func TestColonsWithinElementsOfAListAreTheirs(t *testing.T) {
	for _, list := range []string{
		"[::1/128]", "[10.0.0.0/8, ::1/128, 'fe80::/10']", "[ 2001:db8::/32 , fe80::/10,\n  ::/0]", "[\"::1\", ::2 # two\n  , ::3]",
	} {
		for _, spec := range []string{"spec: {respond: {status: 204}, match: {clientCIDRs: " + list + "}}", "spec:\n  respond: {status: 204}\n  match:\n    clientCIDRs: " + list} {
			docs, problems := Decode([]byte("kind: Route\nname: a\n"+spec+"\n"), DecodeOptions{})
			if len(problems) > 0 {
				t.Errorf("%s: %v", spec, problems)
				continue
			}
			got := docs[0].Resource.GetRoute().GetMatch().GetClientCidrs()
			clean := strings.NewReplacer("[", "", "]", "", "'", "", `"`, "", " ", "", "\n", "", "# two", "").Replace(list)
			if strings.Join(got, ",") != clean {
				t.Errorf("%s: %q", spec, got)
			}
		}
	}
	for input, want := range map[string]string{
		"kind: Upstream\nname: a\nspec: {endpoints: [10.0.0.1:80]}\n":                    "3 document 1 Upstream/a spec.endpoints[0]",
		"kind: Upstream\nname: a\nspec: {endpoints: [{address: 127.0.0.1:9001}, ::1]}\n": "3 document 1 Upstream/a spec.endpoints[1]",
		"kind: Route\nname: a\nspec: {respond: {status: 204}, hosts: [a: b]}\n":          "3 document 1 Route/a spec.hosts[0]",
	} {
		if _, problems := Decode([]byte(input), DecodeOptions{}); len(problems) != 1 || places(problems)[0] != want {
			t.Errorf("%s: %v", input, problems)
		}
	}
}

// TestTextInUTF16IsCalledThat: some shells of Windows write it.
func TestTextInUTF16IsCalledThat(t *testing.T) {
	for _, input := range []string{"\xff\xfek\x00", "\xfe\xff\x00k"} {
		if docs, problems := Decode([]byte(input), DecodeOptions{}); len(docs) > 0 || len(problems) != 1 || problems[0].Got != "text in UTF-16" {
			t.Errorf("%q: %v, %v", input, docs, problems)
		}
	}
}

func TestTheLineOfOneElementTooManyIsTold(t *testing.T) {
	lines := "[\n" + strings.Repeat("1,\n", maxElements+5) + "1]"
	for name, input := range map[string]string{"YAML": "# a list\n" + lines, "JSON": "\n{\"a\":" + lines + "}"} {
		if _, problems := Decode([]byte(input), DecodeOptions{}); len(problems) != 1 || problems[0].Line < maxElements+3 || problems[0].Line > maxElements+4 {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

func TestAResourceThatIsTooLargeIsRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("kind: Upstream\nname: u\nspec:\n  endpoints:\n")
	for i := range 20_000 {
		fmt.Fprintf(&b, "  - {address: \"10.%d.%d.1:80\"}\n", i/256, i%256)
	}
	_, problems := Decode([]byte(b.String()), DecodeOptions{})
	if len(problems) != 1 || problems[0].Expected != "a resource of at most 256 KiB" {
		t.Errorf("got %v", problems)
	}
}

func TestScalarsAreThoseOfYAML12(t *testing.T) {
	tests := map[string]nodeKind{
		"": nodeNull, "~": nodeNull, "null": nodeNull, "true": nodeBool, "FALSE": nodeBool, "yes": nodeString, "on": nodeString, "0": nodeInt, "-1": nodeInt,
		"+12": nodeInt, "0x1F": nodeInt, "0o17": nodeInt, "007": nodeString, "1_000": nodeString, "0b1": nodeString, "1.5": nodeFloat, ".5": nodeFloat,
		"1.": nodeFloat, "1e3": nodeFloat, "-.inf": nodeFloat, ".nan": nodeFloat, "0.5": nodeFloat, "1.2.3": nodeString, "12:30": nodeString, "1s": nodeString,
		"2026-01-01": nodeString, "-": nodeString, ".": nodeString, "a": nodeString,
	}
	for text, want := range tests {
		if got := plainKind(text); got != want {
			t.Errorf("%q is of kind %d, want %d", text, got, want)
		}
	}
}
