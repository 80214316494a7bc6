package floorstest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryDepartureFromTheTableIsTold(t *testing.T) {
	table := Module{
		Name: "m",
		Packages: []Package{
			{Dir: "low", Floor: 0, Pure: true},
			{Dir: "side", Floor: 0},
			{Dir: "high", Floor: 1},
		},
		Others: []string{"proto/..."},
		Bans:   []Ban{{Import: "net/http/...", Only: []string{"high"}, Reason: "the engine is ours"}},
	}
	const m = `"github.com/proxyfleet/proxyfleet/m/`
	tests := []struct {
		name  string
		files map[string]string
		want  string // part of the one problem; empty: none
	}{
		{
			"down is fine",
			map[string]string{"high/a.go": "package high\nimport _ " + m + `low"`},
			"",
		},
		{
			"up is refused",
			map[string]string{"side/a.go": "package side\nimport _ " + m + `high"`},
			"imports high (floor 1): imports go strictly down",
		},
		{
			"the same floor is refused",
			map[string]string{"side/a.go": "package side\nimport _ " + m + `low"`},
			"imports low (floor 0): imports go strictly down",
		},
		{
			"an unknown package is told what to do",
			map[string]string{"fresh/a.go": "package fresh", "fresh/b.go": "package fresh"},
			"m/fresh: this package is not in the table of floors: add it to m/floors_test.go",
		},
		{
			"another module that is listed",
			map[string]string{"low/a.go": `package low
import _ "github.com/proxyfleet/proxyfleet/proto/tree"`},
			"",
		},
		{
			"another module that is not",
			map[string]string{"high/a.go": `package high
import _ "github.com/proxyfleet/proxyfleet/cli"`},
			"imports cli: of the other modules, m may import proto/... only",
		},
		{
			"a banned import",
			map[string]string{"side/a.go": `package side
import _ "net/http/pprof"`},
			"the engine is ours (allowed in: high)",
		},
		{
			"a banned import where it is allowed",
			map[string]string{"high/a.go": `package high
import _ "net/http"`},
			"",
		},
		{
			"net in a pure package",
			map[string]string{"low/a.go": `package low
import _ "net"`},
			"imports net: the package is pure",
		},
		{
			"netip, atomic and durations in a pure package",
			map[string]string{"low/a.go": `package low
import (
	_ "net/netip"
	_ "sync/atomic"
	"time"
)
const d = time.Second`},
			"",
		},
		{
			"a clock under another name in a pure package",
			map[string]string{"low/a.go": `package low
import clock "time"
var f = clock.Now`},
			"calls time.Now",
		},
		{
			"a goroutine in a pure package",
			map[string]string{"low/a.go": `package low
func f() { go f() }`},
			"starts a goroutine",
		},
		{
			"a file for another system counts",
			map[string]string{"low/a_plan9.go": `package low
import _ "os"`},
			"imports os",
		},
		{
			"tests may reach up",
			map[string]string{"low/a_test.go": `package low
import _ "os"
import _ ` + m + `high"`},
			"",
		},
		{
			"a test helper in code",
			map[string]string{"side/a.go": `package side
import _ "testing/fstest"`},
			"is for tests",
		},
		{
			"testdata and nested modules are not looked at",
			map[string]string{
				"low/testdata/a.go": "package x",
				"nested/go.mod":     "module x",
				"nested/a.go":       "package x",
			},
			"",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range tt.files {
				name = filepath.Join(root, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Problems(root, table)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.want == "" && len(got) != 0:
				t.Fatalf("got %q, want no problem", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Fatalf("got %q, want one problem with %q", got, tt.want)
			}
		})
	}
}

func TestThePageShowsEveryPackage(t *testing.T) {
	const page = "| module | packages |\n| `m` | `low` what is pure; `high/deep` the rest |\n\nPure packages (`low`,\n`side`) have no clock.\n"
	m := Module{Name: "m", Packages: []Package{{Dir: "."}, {Dir: "low", Pure: true}, {Dir: "high/deep"}}}
	if problems := Undocumented(page, m); len(problems) != 0 {
		t.Errorf("%q", problems)
	}
	for want, p := range map[string]Package{
		"row of m does not have `new`":                    {Dir: "new"},
		"list of pure packages is not right about `deep`": {Dir: "high/deep", Pure: true},
		"list of pure packages is not right about `low`":  {Dir: "low"},
	} {
		m := Module{Name: "m", Packages: []Package{p}}
		if problems := Undocumented(page, m); len(problems) != 1 || !strings.Contains(problems[0], want) {
			t.Errorf("%q instead of %q", problems, want)
		}
	}
	if problems := Undocumented(page, Module{Name: "other"}); len(problems) != 1 {
		t.Errorf("%q", problems)
	}
}
