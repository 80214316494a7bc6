package resource

import (
	"fmt"
	"strings"
)

// The sizes of names and labels. A name is at most a DNS name (RFC 1035 section
// 2.3.4), so that it fits into a URL, a metric's label and a file name; a label's
// name and value are at most a DNS label, so that a node's labels fit into what
// gossip carries.
const (
	maxName       = 253
	maxLabelPart  = 63
	maxLabels     = 64
	nameExpected  = "lower-case letters, digits, - and ., beginning and ending with a letter or digit, at most 253"
	labelKeyShape = "letters, digits, -, _ and ., beginning and ending with a letter or digit, at most 63, after a DNS name and / or alone"
	labelValShape = "letters, digits, -, _ and ., beginning and ending with a letter or digit, at most 63"
)

// complaint is what is wrong with a piece of text.
type complaint struct {
	expected   string
	suggestion string
}

// ValidName reports whether s may name a resource: lower-case letters, digits,
// "-" and ".", beginning and ending with a letter or digit, no two dots in a
// row, at most 253 characters.
func ValidName(s string) bool { return checkName(s) == nil }

func checkName(s string) *complaint {
	if s != "" && len(s) <= maxName && isAlnum(s[0]) && isAlnum(s[len(s)-1]) && !strings.Contains(s, "..") &&
		onlyBytes(s, func(c byte) bool { return isAlnum(c) || c == '-' || c == '.' }) && s == strings.ToLower(s) {
		return nil
	}
	return &complaint{expected: nameExpected, suggestion: nearName(s)}
}

// nearName turns s into a name, if little has to change.
func nearName(s string) string {
	n := strings.Map(func(r rune) rune {
		if strings.ContainsRune("_ /:", r) {
			return '-'
		}
		return r
	}, strings.ToLower(strings.TrimSpace(s)))
	n = strings.Trim(n, "-.")
	if n == "" || n == s || checkName(n) != nil {
		return ""
	}
	return n
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func onlyBytes(s string, allowed func(byte) bool) bool {
	for i := range len(s) {
		if !allowed(s[i]) {
			return false
		}
	}
	return true
}

// checkLabelKey accepts "team" and "example.org/team".
func checkLabelKey(s string) *complaint {
	prefix, name, found := strings.Cut(s, "/")
	if !found {
		prefix, name = "", s
	}
	if found && checkName(prefix) != nil || name == "" || !labelPart(name) {
		return &complaint{expected: labelKeyShape}
	}
	return nil
}

// checkLabelValue accepts what a label's name may be, and nothing at all.
func checkLabelValue(s string) *complaint {
	if s != "" && !labelPart(s) {
		return &complaint{expected: labelValShape}
	}
	return nil
}

// CheckLabels says what is wrong with labels that do not come from a document; nil: nothing.
func CheckLabels(labels map[string]string) error {
	var c checker
	c.labels(labels)
	if len(c.values) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", c.values[0].Field, c.values[0].Message())
}

func labelPart(s string) bool {
	return len(s) <= maxLabelPart && isAlnum(s[0]) && isAlnum(s[len(s)-1]) &&
		onlyBytes(s, func(c byte) bool { return isAlnum(c) || c == '-' || c == '_' || c == '.' })
}

// article puts "a" or "an" before the name of a kind.
func article(word string) string {
	if strings.ContainsAny(word[:1], "AEIOUaeiou") {
		return "an " + word
	}
	return "a " + word
}

// Missing is the problem of a reference at field to a resource that is not there.
// The suggestion is the nearest of the names that are there.
func Missing(from Key, field string, to Key, suggestion string) Problem {
	return Problem{
		Kind: from.Kind, Name: from.Name, Field: field, Got: quote(to.Name),
		Expected:   fmt.Sprintf("the name of %s; there is none named %s", article(to.Kind), to.Name),
		Suggestion: suggestion,
	}
}
