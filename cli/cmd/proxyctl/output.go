package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// Forms of output.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatName  = "name"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// formatsAnnotation holds the forms that a command knows, by comma.
const formatsAnnotation = "proxyctl/formats"

// offer says that the command shows something: as a table, as JSON and as YAML, and in
// what further forms. Without, it has none and refuses -o.
func offer(cmd *cobra.Command, more ...string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[formatsAnnotation] = strings.Join(slices.Concat([]string{formatTable}, more, []string{formatJSON, formatYAML}), ",")
}

// show prints a result in the form that was asked for; people prints it for people.
func (a *app) show(v any, people func()) error {
	switch a.output {
	case formatJSON:
		return a.printJSON(v)
	case formatYAML:
		text, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		a.printf("%s", text)
	default:
		people()
	}
	return nil
}

// watched refuses to follow changes in a form that is one document.
func (a *app) watched() error {
	if a.output == formatJSON || a.output == formatYAML {
		return wrongUse("--watch has no -o %s: read /v1/events instead", a.output)
	}
	return nil
}

// checkOutput refuses a form that the command does not have.
func (a *app) checkOutput(cmd *cobra.Command) error {
	if a.output == "" {
		return nil
	}
	list := cmd.Annotations[formatsAnnotation]
	if list == "" {
		return fmt.Errorf("%s has no -o", cmd.CommandPath())
	}
	if !slices.Contains(strings.Split(list, ","), a.output) {
		return fmt.Errorf("-o %s: expected one of %s", a.output, strings.ReplaceAll(list, ",", ", "))
	}
	return nil
}

// printed is standard output. It remembers the first write that failed, since
// commands print as they go: `proxyctl get all -o yaml > backup.yaml` on a full
// disk must not end as if the backup were whole.
type printed struct {
	to io.Writer

	mu  sync.Mutex // the demo prints from more than one goroutine
	err error      // guarded by mu
}

func (p *printed) Write(text []byte) (int, error) {
	n, err := p.to.Write(text)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.err == nil {
			p.err = err
		}
	}
	return n, err
}

// lost is the failure of a command that did its work and could not show it.
func (p *printed) lost() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return nil
	}
	return &ranError{fmt.Errorf("standard output: %w; what was printed is not whole", p.err)}
}

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.stdout, format, args...) }

// note tells a person something that is not the result.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }

// printJSON prints a value as indented JSON.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// colour is the parameter of an SGR escape sequence.
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	dim    colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	cyan   colour = "36"
)

// colours reports whether w takes them (https://no-color.org).
func (a *app) colours(w io.Writer) bool {
	if a.getenv("NO_COLOR") != "" || a.getenv("TERM") == "dumb" || !a.terminal(w) {
		return false
	}
	// Other Windows consoles print escape sequences as they are.
	return runtime.GOOS != "windows" || a.getenv("WT_SESSION") != ""
}

func paint(on bool, c colour, s string) string {
	if !on || c == plain || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// cell is one field of a table.
type cell struct {
	text   string
	colour colour
}

// row makes a row of cells without colour.
func row(texts ...string) []cell {
	cells := make([]cell, len(texts))
	for i, t := range texts {
		cells[i] = cell{text: t}
	}
	return cells
}

const (
	// columnGap stands between the columns of a table.
	columnGap = 3
	// tableWidth is what a table takes at most unless it is wide, or names are long.
	tableWidth = 100
)

// fitted is a table of which lists and long texts are shortened until it fits. Names
// never are.
func fitted(table func(limit int) ([]string, [][]cell)) (header []string, rows [][]cell) {
	for _, limit := range []int{60, 48, 40, 32, 24, 16, 12} {
		header, rows = table(limit)
		width := -columnGap
		for _, w := range columnWidths(header, rows) {
			width += w + columnGap
		}
		if width <= tableWidth {
			break
		}
	}
	return header, rows
}

// printTable prints rows below a header, in columns.
func (a *app) printTable(header []string, rows [][]cell) {
	a.printf("%s", tableText(a.colours(a.stdout), header, rows))
}

// columnWidths is how wide each column is. It makes the cells fit to be shown.
func columnWidths(header []string, rows [][]cell) []int {
	widths := make([]int, len(header))
	for i, h := range header {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, r := range rows {
		for i := range r {
			r[i].text = visible(r[i].text)
			if r[i].text == "" {
				r[i].text = "-"
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i].text))
		}
	}
	return widths
}

// tableText lays rows out in columns below a header.
func tableText(colours bool, header []string, rows [][]cell) string {
	widths := columnWidths(header, rows)
	var b strings.Builder
	line := func(cells []cell) {
		for i, c := range cells {
			b.WriteString(paint(colours, c.colour, c.text))
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+columnGap))
			}
		}
		b.WriteByte('\n')
	}
	line(row(header...))
	for _, r := range rows {
		line(r)
	}
	return b.String()
}

// visible makes text fit for one line of a terminal: what others wrote must
// neither break the table nor steer the terminal.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Cf, r):
			return '?'
		default:
			return r
		}
	}, s)
}

// counted is "1 node", "2 nodes".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
