package report

import (
	"bytes"
	_ "embed" // the page's template
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed page.md.tmpl
var pageText string

// Defaults are what the page tells of runs that are not made yet.
type Defaults struct {
	Rounds              int
	Round, Turn, Warmup time.Duration
	Takes               time.Duration // all rounds and waits
	AnswerBytes         int
	FixedShare          float64
}

// page is what the template reads.
type page struct {
	Rounds      int
	Round, Turn string
	Warmup      string
	Takes       string
	AnswerBytes int
	FixedShare  string
	Slacks      string
	Report      *Report
	Judgements  []Judgement
}

// Page writes the page; without a report, it tells only how it is measured.
func Page(d Defaults, r *Report) ([]byte, error) {
	p := page{
		Rounds: d.Rounds, Round: words(d.Round), Turn: words(d.Turn), Warmup: words(d.Warmup), Takes: hours(d.Takes), AnswerBytes: d.AnswerBytes,
		FixedShare: percent(d.FixedShare), Report: r,
		Slacks: fmt.Sprintf("%s of costs, %s of memory, %s of latencies and differences, %s of pauses",
			percent(2*slackCost), percent(2*slackMemory), percent(2*slackP99), percent(2*slackPause)),
	}
	if r != nil {
		p.Judgements = r.Judge()
	}
	funcs := template.FuncMap{
		"date":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
		"took":  func(d time.Duration) string { return d.Round(time.Second).String() },
		"bytes": func(n uint64) string { return size(float64(n)) },
		"title": title, "join": func(s []string) string { return strings.Join(s, ", ") },
		"disturbed":   disturbed,
		"verdicts":    func(r *Report) []string { return verdicts(p.Judgements, r.CI) },
		"barFigure":   barFigure,
		"barKind":     barKind,
		"barBound":    barBound,
		"barMeasured": barMeasured,
		"barVerdict":  barVerdict,
		"definitions": definitions,
		"tables":      tables,
		"older":       older,
	}
	t, err := template.New("page").Funcs(funcs).Option("missingkey=error").Parse(pageText)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, p); err != nil {
		return nil, err
	}
	return append(bytes.TrimRight(out.Bytes(), "\n"), '\n'), nil
}

// definitions are those of the scenarios that were measured.
func definitions(r *Report) []Definition {
	return slices.DeleteFunc(Definitions(), func(d Definition) bool { return r.Scenario(d.ID) == nil })
}

// verdicts sum up the bars.
func verdicts(js []Judgement, ci bool) []string {
	count := map[Verdict]int{}
	for _, j := range js {
		count[j.Verdict]++
	}
	out := []string{fmt.Sprintf("%d bars: %d met, %d missed, %d not measured.", len(js), count[Met], count[Missed], count[NotMeasured])}
	if ci {
		out = append(out, "The bounds are those for shared machines, loosened by twice their slack.")
	}
	return out
}

// table is one of the page.
type table struct {
	Caption      string
	Lines, Notes []string
}

// heading are the first lines of a table.
func heading(columns []Key, unit string) []string {
	names, rule := "| |", "|---|"
	for _, c := range columns {
		names += " " + columnTitle(c, unit) + " |"
		rule += "---|"
	}
	return []string{names, rule}
}

// captions of the loads.
func caption(s *Scenario, load Load) string {
	switch load {
	case Saturated:
		return "Saturated:"
	case Fixed:
		return fmt.Sprintf("At a fixed rate of %s requests/s:", thousands(s.FixedRate))
	case Pages:
		return "Pages, one after another:"
	}
	return "Measured at rest:"
}

// tables are those of a scenario, one for each load that it has.
func tables(r *Report, d Definition) []table {
	s := r.Scenario(d.ID)
	var out []table
	for _, load := range []Load{Saturated, Fixed, Pages, None} {
		columns := d.Columns[load]
		rows := slices.DeleteFunc(slices.Clone(s.Rows), func(r Row) bool { return r.Load != load })
		if len(columns) == 0 || len(rows) == 0 {
			continue
		}
		t := table{Caption: caption(s, load), Lines: heading(columns, unit(d.ID))}
		for _, row := range rows {
			if row.Absent != "" {
				t.Notes = append(t.Notes, fmt.Sprintf("%s: %s.", title(row.Name), row.Absent))
				continue
			}
			line := "| " + title(row.Name) + " |"
			for _, c := range columns {
				line += " " + cell(c, row.Figures[c]) + " |"
			}
			t.Lines = append(t.Lines, line)
			if row.Failed > 0 {
				t.Notes = append(t.Notes, fmt.Sprintf("%s: %s requests failed (%s).", title(row.Name), thousands(float64(row.Failed)), row.FirstFailure))
			}
		}
		if len(t.Lines) == len(heading(nil, "")) { // nobody was measured
			t.Lines = nil
		}
		out = append(out, t)
	}
	return out
}

// quiet is the share of the proxy's core that others may use before the page says
// so.
const quiet = 0.05

// disturbed names the rounds in which others used more of the proxy's core than
// they may; empty: none.
func disturbed(r *Report) string {
	rounds, all, worst := 0, 0, 0.0
	for _, s := range r.Scenarios {
		for _, row := range s.Rows {
			for _, share := range row.Figures[Others] {
				all++
				if worst = max(worst, share); share > quiet {
					rounds++
				}
			}
		}
	}
	if rounds == 0 {
		return ""
	}
	return fmt.Sprintf("in %d of %d rounds others used more than %s of the proxy's core, at worst %s.", rounds, all, percent(quiet), percent(worst))
}

// older tells with what, when and where a scenario was measured, if not as the run ended.
func older(r *Report, d Definition) string {
	s := r.Scenario(d.ID)
	if s == nil || s.Version == "" {
		return ""
	}
	there := r.place(s)
	if s.Version == r.version() && s.Turn == r.Settings.Turn && there == "" {
		return ""
	}
	text := fmt.Sprintf("Measured on %s with proxyfleet %s%s", s.Began.UTC().Format(time.DateOnly), s.Version, there)
	switch s.Turn {
	case r.Settings.Turn:
	case 0:
		text += ", each round in one turn"
	default:
		text += fmt.Sprintf(", in turns of %v", s.Turn)
	}
	return text + "."
}

// place tells on what a scenario was measured, as far as it is not the report's machine.
func (r *Report) place(s *Scenario) string {
	if s.Machine == nil {
		return ""
	}
	text := ""
	if s.Machine.Processor != r.Machine.Processor {
		text += fmt.Sprintf(", on another machine (%s, %s)", s.Machine.Processor, size(float64(s.Machine.Memory)))
	}
	if s.Machine.Kernel != r.Machine.Kernel {
		text += ", under Linux " + s.Machine.Kernel
	}
	return text
}
