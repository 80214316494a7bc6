package resource

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The examples of the issues, which stand in testdata as they are.
func TestExamplesGiveExactlyTheirProblems(t *testing.T) {
	tests := map[string][]string{
		"first.yaml": nil,
		"shop.yaml": {
			"15 document 2 Upstream/front spec.healthCheck",
			"26 document 3 Upstream/api-v1 spec.outlierDetection",
			"27 document 3 Upstream/api-v1 spec.circuitBreaker",
			"35 document 5 RateLimit/per-client kind",
			"55 document 6 Route/api spec.rateLimits",
		},
		"edge.yaml": {
			"19 document 3 VirtualIP/edge spec.announce",
			"23 document 4 RolloutPolicy/default kind",
		},
	}
	for file, want := range tests {
		_, problems := decodeFile(t, file)
		for _, p := range problems {
			if p.Expected != NotSupported {
				t.Errorf("%s: %s: want %q as expected", file, p, NotSupported)
			}
		}
		if diff := cmp.Diff(want, places(problems)); diff != "" {
			t.Errorf("%s: problems (-want +got):\n%s", file, diff)
		}
	}
}

func TestBadExampleNamesItsEightProblems(t *testing.T) {
	docs, problems := decodeFile(t, "bad.yaml")
	if len(problems) != 7 {
		t.Errorf("decoding tells %d problems, want 7: %v", len(problems), problems)
	}
	apiV1 := Key{Kind: Upstream, Name: "api-v1"}
	problems = append(problems, Dangling(docs, func(k Key) bool { return k == apiV1 }, apiV1)...)
	SortProblems(problems)
	want := []string{
		"7 document 1 Route/dangling spec.forward[0].upstream",
		"12 document 2 Route/typo spec.hots",
		"19 document 3 Upstream/empty spec.endpoints",
		"24 document 4 Upstream/bad-address spec.endpoints[0].address",
		"28 document 5 RateLimit/bad-rate spec.rate",
		"32 document 6 Listener/bad-port spec.port",
		"39 document 7 Route/two-actions spec.respond",
		"44 document 8 Route/bad-regex spec.match.path.regex",
	}
	if diff := cmp.Diff(want, places(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if got := problems[0].Suggestion; got != "api-v1" {
		t.Errorf("suggestion for api-v3 is %q, want api-v1", got)
	}
	if got := problems[1].Suggestion; got != "hosts" {
		t.Errorf("suggestion for hots is %q, want hosts", got)
	}
}

func decodeFile(t *testing.T, file string) ([]Document, []Problem) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return Decode(data, DecodeOptions{File: file, FilesAllowed: true})
}

// places says where problems are, for comparing.
func places(problems []Problem) []string {
	var s []string
	for _, p := range problems {
		s = append(s, fmt.Sprintf("%d document %d %s %s", p.Line, p.Document, p.Key(), p.Field))
	}
	return s
}
