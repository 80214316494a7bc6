package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/figure"
)

// title is how the page calls a row or a program.
func title(name string) string {
	proxy, way, ways := strings.Cut(name, waySeparator)
	switch proxy {
	case haproxy:
		proxy = "HAProxy"
	case caddy:
		proxy = "Caddy"
	case goDefault:
		proxy = "Go ReverseProxy, default"
	case goTuned:
		proxy = "Go ReverseProxy, tuned"
	}
	if ways {
		return proxy + waySeparator + way
	}
	return proxy
}

// columnTitle names a figure of a scenario that counts some unit.
func columnTitle(k Key, unit string) string {
	switch k {
	case CPU:
		return "cost of a " + unit + ", µs"
	case CPUBytes:
		return "cost of a GiB, s"
	case UserBytes:
		return "user"
	case SystemBytes:
		return "system"
	case Throughput:
		return "GiB/s"
	case User:
		return "user"
	case System:
		return "system"
	case Rate:
		return unit + "s/s"
	case P50:
		return "latency p50, µs"
	case P95:
		return "p95"
	case P99:
		return "p99"
	case Late:
		return "late p99"
	case Peak:
		return "peak memory"
	case Idle:
		return "bytes"
	case Mallocs:
		return "allocations a request"
	case Pause:
		return "longest pause, µs"
	case Counted:
		return "as the runtime counts it, µs"
	case Waited:
		return "longest wait of the loop for a processor, µs"
	case Dropped:
		return "log lines lost"
	case LogBytes:
		return "log bytes a request"
	case Busy:
		return "its core"
	case Others:
		return "others on it"
	case LoadBusy:
		return "load's core"
	case Failed:
		return "requests that failed"
	}
	return string(k)
}

// value writes one value of a figure.
func value(k Key, v float64) string {
	switch k {
	case CPU, User, System:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case CPUBytes, UserBytes, SystemBytes:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case Throughput:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case Mallocs:
		return strconv.FormatFloat(v, 'f', 4, 64)
	case Peak:
		return size(v)
	case Busy, Others, LoadBusy:
		return percent(v)
	}
	return thousands(v)
}

// cell writes a figure: its median and its spread.
func cell(k Key, s figure.Series) string {
	if len(s) == 0 {
		return "–"
	}
	median, low, high := value(k, s.Median()), value(k, s.Min()), value(k, s.Max())
	if low == high || k == Others || k == LoadBusy {
		return median
	}
	return fmt.Sprintf("%s (%s–%s)", median, low, high)
}

func barFigure(j Judgement) string {
	unit := unit(j.Scenario)
	what := columnTitle(j.Key, unit)
	if j.Key == P50 || j.Key == P95 || j.Key == P99 {
		what = "latency " + strings.TrimPrefix(strings.TrimSuffix(what, ", µs"), "latency ")
	}
	switch j.Key {
	case CPU:
		what = "cost of a " + unit
	case CPUBytes:
		what = "cost of a GiB"
	case User:
		what = "user time of a " + unit
	}
	if j.Load == Fixed {
		what += ", fixed rate"
	}
	switch j.Comparison {
	case Against:
		return fmt.Sprintf("%s: %s ÷ %s", what, title(j.Of), title(j.Than))
	case Gain:
		return fmt.Sprintf("%s: %s ÷ %s", what, title(j.Than), title(j.Of))
	case More:
		return fmt.Sprintf("%s: %s − %s", what, j.Of, j.Than)
	}
	return fmt.Sprintf("%s: %s", what, title(j.Of))
}

func barKind(j Judgement) string {
	if j.Guard {
		return "guard"
	}
	return "target"
}

func barBound(j Judgement) string {
	return j.Bound.Direction.String() + " " + barValue(j, j.Bound.Limit)
}

// barValue writes a number in the unit of a bar.
func barValue(j Judgement, v float64) string {
	switch j.Comparison {
	case Against, Gain:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case More:
		return strconv.FormatFloat(v, 'f', 2, 64) + " µs"
	}
	switch j.Key {
	case Mallocs, Peak:
		return value(j.Key, v)
	case Idle:
		return thousands(v) + " B"
	case Pause, Counted, Waited:
		return thousands(v) + " µs"
	}
	return thousands(v)
}

func barMeasured(j Judgement) string {
	if j.Verdict == NotMeasured {
		return "–"
	}
	switch j.Comparison {
	case Against, Gain:
		ratio, low, high := barValue(j, j.Ratio.Value), barValue(j, j.Ratio.Low), barValue(j, j.Ratio.High)
		switch {
		case j.Equal:
			return fmt.Sprintf("equal (%s, from %s to %s)", ratio, low, high)
		case low == high:
			return ratio
		}
		return fmt.Sprintf("%s (%s–%s)", ratio, low, high)
	case More:
		if j.Equal {
			return "equal"
		}
	}
	return barValue(j, j.Value)
}

func barVerdict(j Judgement) string {
	if j.Verdict == Missed {
		return "**missed**"
	}
	return string(j.Verdict)
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 0, 64) + " %" }

// size writes bytes.
func size(bytes float64) string {
	switch {
	case bytes >= 1<<30:
		return strconv.FormatFloat(bytes/(1<<30), 'f', 1, 64) + " GiB"
	case bytes >= 1<<20:
		return strconv.FormatFloat(bytes/(1<<20), 'f', 1, 64) + " MiB"
	}
	return thousands(bytes) + " B"
}

// thousands writes a whole number with commas.
func thousands(v float64) string {
	s := strconv.FormatFloat(math.Abs(math.Round(v)), 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if math.Round(v) < 0 {
		s = "-" + s
	}
	return s
}

// words writes a duration for a sentence.
func words(d time.Duration) string {
	if d%time.Second == 0 {
		if n := int(d / time.Second); n != 1 {
			return strconv.Itoa(n) + " seconds"
		}
		return "a second"
	}
	return d.String()
}

// hours tells of a long time, to the minute.
func hours(d time.Duration) string {
	minutes := int(d.Round(time.Minute) / time.Minute)
	return fmt.Sprintf("%d h %02d min", minutes/60, minutes%60)
}

// String tells a judgement in a line.
func (j Judgement) String() string {
	return fmt.Sprintf("%s: %s: %s, want %s", j.Scenario, barFigure(j), barMeasured(j), barBound(j))
}
