package resource

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
)

const (
	// maxInput bounds an input: 100,000 routes with room to spare.
	maxInput = 64 << 20
	// maxText bounds the text of one document. Indentation, key names and comments
	// make text up to four times as long as the canonical bytes.
	maxText = 4 * MaxSize
	// maxDocuments bounds what a small input of tiny documents makes of itself.
	maxDocuments = 250_000
	// maxDepth bounds how deep values nest; the schema needs 8.
	maxDepth = 32
	// maxProblems bounds what is told about one input.
	maxProblems = 10_000
)

// textProblem is a document that cannot be read at all.
type textProblem struct {
	line          int // of the input
	got, expected string
	excess        bool // there is too much of something
}

func (e *textProblem) Error() string { return "got " + e.got + ", expected " + e.expected }

func badSyntax(line int, reason string) *textProblem {
	return &textProblem{line: line, got: "bad syntax (" + reason + ")", expected: "YAML or JSON"}
}

// excess is a limit on the shape of a document.
type excess uint8

const (
	noExcess excess = iota
	excessText
	excessDepth
	excessKeys
	excessNulls
	excessBlankLines
	excessElements
	excessKeyStyle
)

// problem says what a document has too much of.
func (e excess) problem(line int) *textProblem {
	p := &textProblem{line: line, excess: true}
	switch e {
	case excessText:
		p.got, p.expected = "a longer text", "at most 1 MiB of text in one document"
	case excessDepth:
		p.got, p.expected = "values nested deeper", "at most 32 levels"
	case excessKeys:
		p.got, p.expected = "more keys", "at most 1000 keys in one mapping"
	case excessNulls:
		p.got, p.expected = "more of them", "at most 250 keys or elements without a value"
	case excessBlankLines:
		p.got, p.expected = "more blank lines", "at most 5000 in one document"
	case excessElements:
		p.got, p.expected = "more elements", "at most 100000 elements and keys in one document"
	case excessKeyStyle:
		p.got, p.expected = "a key that is introduced by ?", "key: value"
	}
	return p
}

// excessive reports whether an error is that a document has too much of something.
func excessive(err error) bool {
	var tp *textProblem
	return errors.As(err, &tp) && tp.excess
}

// chunk is the text of one document, between separators.
type chunk struct {
	text string
	line int // 1-based line of the input on which text begins
	at   int // where text begins in the input
}

// chunks gives the documents of a stream that hold something. A line that begins
// with --- or ... and a space or its end separates documents wherever it stands:
// YAML forbids it inside of any scalar (YAML 1.2.2 section 9.1.2, rule
// c-forbidden), so no syntax needs to be known here. Parsing documents one by
// one keeps an error in its document, and memory to that of one syntax tree.
func chunks(text string, yield func(chunk) bool) {
	start, startLine, line := 0, 1, 1
	for at := 0; at < len(text); line++ {
		end := strings.IndexByte(text[at:], '\n')
		if end < 0 {
			end = len(text)
		} else {
			end += at + 1
		}
		if mark := len(text[at:end]) - len(strings.TrimPrefix(text[at:end], byteOrderMark)); separates(text[at+mark : end]) {
			if c := (chunk{text[start:at], startLine, start}); c.hasContent() && !yield(c) {
				return
			}
			start, startLine = at+mark+len("---"), line
		}
		at = end
	}
	if c := (chunk{text[start:], startLine, start}); c.hasContent() {
		yield(c)
	}
}

func separates(line string) bool {
	return (strings.HasPrefix(line, "---") || strings.HasPrefix(line, "...")) &&
		(len(line) == 3 || line[3] == ' ' || line[3] == '\t' || line[3] == '\n')
}

// hasContent is false for a chunk of blank lines and comments. It also moves the
// chunk's beginning past the blank lines and comments that it begins with, and past a byte
// order mark.
func (c *chunk) hasContent() bool {
	for c.text != "" {
		if text, marked := strings.CutPrefix(c.text, byteOrderMark); marked {
			c.text, c.at = text, c.at+len(byteOrderMark)
		}
		line, rest, _ := strings.Cut(c.text, "\n")
		if trimmed := strings.TrimLeft(line, " \t"); trimmed != "" && trimmed[0] != '#' {
			return true
		}
		c.at += len(c.text) - len(rest)
		c.text = rest
		c.line++
	}
	return false
}

// newlines turns the line breaks of other systems into \n, as YAML reads them
// (YAML 1.2.2 section 5.4).
func newlines(data []byte) []byte {
	if bytes.IndexByte(data, '\r') < 0 {
		return data
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
}

// badByte finds what neither YAML nor JSON may hold (YAML 1.2.2 section 5.1, RFC
// 8259 section 7): bytes that are not UTF-8, and control characters.
func badByte(text string) (what string, line int) {
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			what = "a byte that is not UTF-8"
		case r < ' ' && r != '\t' && r != '\n':
			what = "a control character"
		default:
			continue
		}
		return what, 1 + strings.Count(text[:i], "\n")
	}
	return "", 0
}
