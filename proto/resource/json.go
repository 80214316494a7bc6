package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// jsonReader reads JSON values one after the other. YAML's flow style takes most
// JSON, but not tabs between values nor JSON's escapes beyond the basic plane,
// and it is slower.
type jsonReader struct {
	text    string
	decoder *json.Decoder
	line    int // of offset
	offset  int
}

// parseJSON reads all values of a text, at least one.
func parseJSON(text string, firstLine int) ([]node, error) {
	j := jsonReader{text: text, decoder: json.NewDecoder(strings.NewReader(text)), line: firstLine}
	j.decoder.UseNumber()
	var values []node
	for {
		t, err := j.next()
		if errors.Is(err, io.EOF) && len(values) > 0 {
			return values, nil
		}
		start := j.offset
		var n node
		if err == nil {
			n, err = j.value(t, 1)
		}
		if err == nil && j.offset-start > maxText {
			err = excessText.problem(int(n.line))
		}
		if err != nil {
			return nil, j.located(err)
		}
		values = append(values, n)
	}
}

// next is the next token. It moves line to where that ends, which is where it
// starts too: no token of JSON spans lines.
func (j *jsonReader) next() (json.Token, error) {
	t, err := j.decoder.Token()
	end := int(j.decoder.InputOffset())
	j.line += strings.Count(j.text[j.offset:end], "\n")
	j.offset = end
	return t, err
}

// located adds the line to an error of the decoder.
func (j *jsonReader) located(err error) error {
	var known *textProblem
	if errors.As(err, &known) {
		return err
	}
	line := j.line
	var se *json.SyntaxError
	if errors.As(err, &se) && int(se.Offset) > j.offset && int(se.Offset) <= len(j.text) {
		line += strings.Count(j.text[j.offset:se.Offset-1], "\n")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		line += strings.Count(strings.TrimRight(j.text[j.offset:], " \t\r\n"), "\n")
		return badSyntax(line, "the text ends inside of a value")
	}
	return badSyntax(line, err.Error())
}

func (j *jsonReader) value(t json.Token, depth int) (node, error) {
	n := node{line: int32(j.line)}
	if depth > maxDepth {
		return n, excessDepth.problem(j.line)
	}
	switch t := t.(type) {
	case nil:
		n.kind, n.text = nodeNull, "null"
	case bool:
		n.kind, n.text = nodeBool, fmt.Sprint(t)
	case json.Number:
		n.text = t.String()
		n.kind = plainKind(n.text)
	case string:
		n.kind, n.text = nodeQuoted, t
	case json.Delim:
		return n, j.collection(&n, t, depth)
	}
	return n, nil
}

// collection fills n with what follows [ or {.
func (j *jsonReader) collection(n *node, open json.Delim, depth int) error {
	n.kind = nodeList
	if open == '{' {
		n.kind = nodeMapping
	}
	for {
		t, err := j.next()
		if err != nil {
			return err
		}
		if d, isDelim := t.(json.Delim); isDelim && (d == ']' || d == '}') {
			return nil
		}
		e := entry{line: int32(j.line)}
		if n.kind == nodeMapping {
			e.key = t.(string) // the decoder accepts nothing else there
			if t, err = j.next(); err != nil {
				return err
			}
		}
		if e.value, err = j.value(t, depth+1); err != nil {
			return err
		}
		n.entries = append(n.entries, e)
	}
}
