package exchange

import (
	"regexp"
	"strings"
	"testing"
)

// traceparent is W3C Trace Context section 3.2 and, for versions to come, 4.3.
var traceparent = regexp.MustCompile(`(?s)^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$`)

func FuzzTraceparent(f *testing.F) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, value := range []string{
		"00-" + trace + "-" + span + "-01", "01-" + trace + "-" + span + "-01", "cc-" + trace + "-" + span + "-01-what-the-future",
		"00-" + trace + "-" + span + "-01-", "cc-" + trace + "-" + span + "-01.what", "cc-" + trace + "-" + span + "-012", "ff-" + trace + "-" + span + "-01",
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01",
		"00-" + strings.ToUpper(trace) + "-" + span + "-01", "00-" + trace + "-" + span + "-0", "00-" + trace + "-" + span + "-0g", "0x-" + trace + "-" + span + "-01",
		"00_" + trace + "-" + span + "-01", "00-" + trace + "_" + span + "-01", "00-" + trace + "-" + span + "_01", "",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		var want [2]string
		m := traceparent.FindStringSubmatch(value)
		if m != nil && m[1] != "ff" && (m[1] != "00" || m[4] == "") && strings.Trim(m[2], "0") != "" && strings.Trim(m[3], "0") != "" {
			want = [2]string{m[2], m[3]}
		}
		trace, span := parseTraceparent([]byte(value))
		if got := [2]string{string(trace), string(span)}; got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	})
}
