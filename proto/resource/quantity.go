package resource

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// The quantities: what is a number in the schema and a string with a unit in
// text. Each has a parser, which also guesses what was meant, and a printer
// whose output the parser reads back to the same number.

// parseDuration reads "500ms", "2s", "1m30s". There is no sign.
func parseDuration(s string) (ns int64, suggestion string, ok bool) {
	if s == "" || s[0] == '+' || s[0] == '-' || s == "0" {
		return 0, nearDuration(s), false
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, nearDuration(s), false
	}
	return int64(d), "", true
}

// nearDuration guesses what a malformed duration meant.
func nearDuration(s string) string {
	number, unit := cutNumber(s)
	if number == "" {
		return ""
	}
	switch strings.ToLower(unit) {
	case "":
		if n, err := strconv.Atoi(number); err == nil && n >= 100 {
			return number + "ms"
		}
		return number + "s"
	case "msec", "msecs", "millis", "millisecond", "milliseconds", "ms":
		return number + "ms"
	case "sec", "secs", "second", "seconds", "s":
		return number + "s"
	case "min", "mins", "minute", "minutes", "m":
		return number + "m"
	case "hour", "hours", "hr", "hrs", "h":
		return number + "h"
	case "d", "day", "days":
		if n, err := strconv.Atoi(number); err == nil && n <= 36500 {
			return strconv.Itoa(n*24) + "h"
		}
	}
	return ""
}

// cutNumber splits an unsigned decimal number from what follows it.
func cutNumber(s string) (number, rest string) {
	s = strings.TrimSpace(s)
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	number = s[:i]
	if _, err := strconv.ParseFloat(number, 64); err != nil {
		return "", s
	}
	return number, strings.TrimSpace(s[i:])
}

// formatDuration prints the shortest exact text: "1m30s", "1.5s", "2h".
func formatDuration(ns int64) string {
	s := time.Duration(ns).String() // "1h0m0s", "1m30s", "500ms"
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return strings.Replace(s, "µs", "us", 1)
}

// sizeUnits from the largest on.
var sizeUnits = [...]struct {
	name  string
	bytes uint64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// ParseSize reads a size as resources write it: "64KiB", "1MiB", or a bare number
// of bytes.
func ParseSize(s string) (bytes uint64, err error) {
	bytes, suggestion, ok := parseSize(s)
	switch {
	case ok:
		return bytes, nil
	case suggestion != "":
		return 0, fmt.Errorf("size %q: did you mean %q?", s, suggestion)
	}
	return 0, fmt.Errorf("size %q: expected a number and B, KiB, MiB or GiB", s)
}

// parseSize reads "64KiB", "512B" and a bare number of bytes.
func parseSize(s string) (bytes uint64, suggestion string, ok bool) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	n, err := strconv.ParseUint(s[:i], 10, 64)
	if err != nil {
		return 0, nearSize(s), false
	}
	if i == len(s) {
		return n, "", true
	}
	for _, u := range sizeUnits {
		if s[i:] == u.name {
			if n > math.MaxUint64/u.bytes {
				return 0, "", false
			}
			return n * u.bytes, "", true
		}
	}
	return 0, nearSize(s), false
}

// nearSize guesses what a malformed size meant.
func nearSize(s string) string {
	number, unit := cutNumber(s)
	if number == "" || strings.Contains(number, ".") || unit == "" {
		return ""
	}
	for _, u := range sizeUnits {
		if strings.EqualFold(unit[:1], u.name[:1]) && len(unit) <= len("KiB") {
			return number + u.name
		}
	}
	if strings.EqualFold(unit, "bytes") || strings.EqualFold(unit, "byte") {
		return number + "B"
	}
	return ""
}

// formatSize prints a size in the largest unit that is exact.
func formatSize(bytes uint64) string {
	for _, u := range sizeUnits {
		if bytes >= u.bytes && bytes%u.bytes == 0 {
			return strconv.FormatUint(bytes/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// parsePercent reads "5%" and "0.5%".
func parsePercent(s string) (percent float64, suggestion string, ok bool) {
	number, unit := cutNumber(s)
	if number == "" {
		return 0, "", false
	}
	if s != number+"%" {
		if unit == "" || unit == "%" || strings.EqualFold(unit, "percent") {
			return 0, number + "%", false
		}
		return 0, "", false
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsInf(f, 0) {
		return 0, "", false
	}
	return f, "", true
}

func formatPercent(percent float64) string {
	return strconv.FormatFloat(percent, 'f', -1, 64) + "%"
}

// rateUnits are the periods of a rate.
var rateUnits = [...]struct {
	name string
	per  int64
}{{"s", int64(time.Second)}, {"m", int64(time.Minute)}, {"h", int64(time.Hour)}}

// parseRate reads "1000/s", "30/m", "5/h".
func parseRate(s string) (count uint64, per int64, suggestion string, ok bool) {
	number, unit, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || number[0] == '+' {
		return 0, 0, nearRate(s), false
	}
	for _, u := range rateUnits {
		if unit == u.name {
			return n, u.per, "", true
		}
	}
	return 0, 0, nearRate(s), false
}

// nearRate guesses what a malformed rate meant.
func nearRate(s string) string {
	number, unit := cutNumber(s)
	if number == "" || strings.Contains(number, ".") {
		return ""
	}
	switch strings.TrimSpace(strings.TrimLeft(strings.ToLower(unit), "/")) {
	case "", "s", "sec", "second", "1s", "rps", "qps", "r/s", "req/s", "per second":
		return number + "/s"
	case "m", "min", "minute", "1m", "rpm", "r/m", "req/m", "per minute":
		return number + "/m"
	case "h", "hr", "hour", "1h", "rph", "r/h", "req/h", "per hour":
		return number + "/h"
	}
	return ""
}

// formatRate prints a rate; ok is false if it has no text form.
func formatRate(r *fleetv1.Rate) (text string, ok bool) {
	if r.Count == nil || r.Per == nil {
		return "", false
	}
	for _, u := range rateUnits {
		if *r.Per == u.per {
			return fmt.Sprintf("%d/%s", *r.Count, u.name), true
		}
	}
	return "", false
}
