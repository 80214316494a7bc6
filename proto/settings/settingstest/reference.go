// Package settingstest holds pages of the documentation to what programs have and take.
package settingstest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/proxyfleet/proxyfleet/proto/settings"
)

// Page is a page of the documentation. Without it, as in a module that is built alone, t is
// skipped.
func Page(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the module is built without the repository around it")
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Documented fails t unless the table of a program in the reference (a page in
// Markdown, headed "| PROGRAM | default | |") has a row for each of its flags, with
// its default, and none for any other; or if settings does not know the variables of
// the flags. inWords are flags whose default depends on
// the machine. The flag of the configuration file is the same for all, and stands
// before the tables.
func Documented(t *testing.T, page, program string, flags *pflag.FlagSet, inWords ...string) {
	t.Helper()
	text := Page(t, page)
	for _, problem := range undocumented(text, program, flags, inWords) {
		t.Errorf("%s: %s", page, problem)
	}
	Known(t, flags)
}

// Known fails t for each flag whose variable settings.Stray takes for mistyped.
func Known(t *testing.T, flags *pflag.FlagSet) {
	t.Helper()
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == settings.ConfigFlag || f.Name == "help" {
			return
		}
		for _, text := range settings.Stray([]string{settings.Variable(f.Name) + "=x"}) {
			t.Errorf("--%s: %s", f.Name, text)
		}
	})
}

// Files fails t for each configuration file in a page that a program does not take. It is
// a block of code that begins with its name, as a comment. flags makes the program's.
func Files(t *testing.T, page, name string, flags func() *pflag.FlagSet) {
	t.Helper()
	text := Page(t, page)
	_, rest, found := strings.Cut(text, "\n    # "+name+"\n")
	if !found {
		t.Errorf("%s: there is no %s", page, name)
	}
	for ; found; _, rest, found = strings.Cut(rest, "\n    # "+name+"\n") {
		block, _, _ := strings.Cut(rest, "\n\n")
		path := filepath.Join(t.TempDir(), filepath.Base(name))
		if err := os.WriteFile(path, []byte(strings.ReplaceAll("\n"+block, "\n    ", "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		f := flags()
		err := f.Set(settings.ConfigFlag, path)
		if err == nil {
			err = settings.Fill(f, func(string) (string, bool) { return "", false })
		}
		if err != nil {
			t.Errorf("%s: %s: %v", page, name, err)
		}
	}
}

// undocumented says what is wrong with the table.
func undocumented(text, program string, flags *pflag.FlagSet, inWords []string) (problems []string) {
	_, table, found := strings.Cut(text, "| "+program+" | default | |\n|---|---|---|\n")
	if !found {
		return []string{"there is no table of " + program}
	}
	table, _, _ = strings.Cut(table, "\n\n")
	defaults := map[string]string{} // by flag, as the table has them
	for row := range strings.Lines(table) {
		row = strings.TrimSpace(row)
		cells := strings.SplitN(row, "|", 4) // nothing, flag, default, the rest
		name := ""
		if len(cells) == 4 {
			name = strings.Trim(cells[1], "`- ")
		}
		if flags.Lookup(name) == nil {
			problems = append(problems, "the row "+row+" is of no flag of "+program)
			continue
		}
		defaults[name] = strings.TrimSpace(cells[2])
	}
	told := map[string]bool{settings.ConfigFlag: true, "help": true}
	for _, name := range inWords {
		told[name] = true
	}
	flags.VisitAll(func(f *pflag.Flag) {
		says, has := defaults[f.Name]
		want := strings.Trim(f.DefValue, "[]")
		switch {
		case !has && (f.Name == settings.ConfigFlag || f.Name == "help"):
		case !has:
			problems = append(problems, "no row for --"+f.Name+" of "+program)
		case told[f.Name] || want == "" || want == "0":
		case want == "false" && says == "off", strings.Contains(says, want):
		default:
			problems = append(problems, "the default of --"+f.Name+" is "+want+", not "+says)
		}
	})
	return problems
}
