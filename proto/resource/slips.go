package resource

import (
	"regexp"
	"strings"
)

// What people write that is YAML, or nearly, and says something else than they mean.

// byteOrderMark may begin each document (YAML 1.2.2 section 5.2), as it does where files
// that begin with one were put one behind the other.
const byteOrderMark = "\uFEFF"

// closeColon is a key with a value close behind its colon, which is no key of YAML.
var closeColon = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9]*):([^\s:].*)$`)

// withSpace is a text such as port:80, if it begins with the name of a field, as it was
// meant; "" for any other.
func withSpace(text string) (name, meant string) {
	m := closeColon.FindStringSubmatch(text)
	if m == nil || !fleetSchema.names[m[1]] {
		return "", ""
	}
	return m[1], clip(m[1] + ": " + m[2])
}

// closeKey is what is told of such a text where a key should be.
func closeKey(text string) string { return clip(text) + " without a space behind the colon" }

// lineAt is a line of a text, counting from 1, without what leads to its key.
func lineAt(text string, number int) string {
	for line := range strings.Lines(text) {
		if number--; number == 0 {
			line = strings.TrimSpace(line)
			for strings.HasPrefix(line, "- ") {
				line = strings.TrimLeft(line[1:], " ")
			}
			return line
		}
	}
	return ""
}

// syntaxHints say what to do about what the parser complains of.
var syntaxHints = []struct{ complaint, hint string }{
	// As of {path: {regex: /a{2}}} and {body: @home}.
	{"is a reserved character", inQuotesHint},
	{"',' or '}' must be specified", inQuotesHint},
	{"',' or ']' must be specified", inQuotesHint},
	{"could not find flow map", inQuotesHint},
	{"could not find flow mapping end token", inQuotesHint},
	{"sequence end token ']' not found", inQuotesHint},
	{"mapping value is not allowed in this context", ` in which the keys of one mapping begin in one column, and a text with ": " stands in quotes`},
	{"value is not allowed in this context", columnHint},
	{"non-map value is specified", columnHint},
	{"unexpected key name", columnHint},
}

const (
	inQuotesHint = ` in which a text stands in quotes that begins with @, % or a backtick, or has { } [ ] , or " #" and stands within braces`
	columnHint   = ` in which the keys of one mapping begin in one column, and a key ends in a colon and a space`
)

// syntaxHint is what to add to what is expected in place of bad syntax.
func syntaxHint(complaint string) string {
	for _, h := range syntaxHints {
		if strings.Contains(complaint, h.complaint) {
			return h.hint
		}
	}
	return ""
}

// otherEncoding says of an input that is no UTF-8 what it is, where its first bytes say so:
// the redirections of some shells of Windows write UTF-16.
func otherEncoding(data []byte) bool {
	return len(data) >= 2 && (data[0] == 0xFF && data[1] == 0xFE || data[0] == 0xFE && data[1] == 0xFF)
}
