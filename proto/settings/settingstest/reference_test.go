package settingstest

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

func TestATableIsHeldToTheFlags(t *testing.T) {
	flags := pflag.NewFlagSet("prog", pflag.ContinueOnError)
	flags.String("address", "127.0.0.1:1", "")
	flags.Bool("insecure", false, "")
	flags.StringSlice("join", nil, "")
	flags.String("name", "this-machine", "")
	flags.String("config", "", "")
	const head = "words\n\n| prog | default | |\n|---|---|---|\n"
	const name, insecure, join = "| `--name` | the host's | n |\n", "| `--insecure` | off | i |\n", "| `--join` | | j |\n"
	for _, c := range []struct {
		name, page string
		want       []string
	}{
		{"all is there", head + "| `--address` | 127.0.0.1:1 | a |\n" + insecure + join + name + "\nmore", nil},
		{
			"another default", head + "| `--address` | 127.0.0.1:2 | a |\n" + insecure + join + name,
			[]string{"the default of --address is 127.0.0.1:1, not 127.0.0.1:2"},
		},
		{"a flag is missing", head + "| `--address` | 127.0.0.1:1 | a |\n" + join + name + "\n\n" + insecure, []string{"no row for --insecure of prog"}},
		{
			"a row is of no flag", head + "| `--address` | 127.0.0.1:1 | a |\n" + insecure + join + name + "| `--gone` | | g |\n",
			[]string{"the row | `--gone` | | g | is of no flag of prog"},
		},
		{"no table", "words", []string{"there is no table of prog"}},
	} {
		if got := undocumented(c.page, "prog", flags, []string{"name"}); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q instead of %q", c.name, got, c.want)
		}
	}
}
