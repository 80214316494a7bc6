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
	offset  int // behind the last token
	start   int // of the value that is being read
	commas  int // in it
}

func newJSONReader(c chunk) *jsonReader {
	j := &jsonReader{text: c.text, decoder: json.NewDecoder(strings.NewReader(c.text)), line: c.line}
	j.decoder.UseNumber()
	return j
}

// read gives the next value, and the piece of the text that it is alone in. The
// error is io.EOF when there is none.
func (j *jsonReader) read() (node, chunk, error) {
	piece := chunk{line: j.line}
	j.start, j.commas = j.offset, 0
	t, err := j.next()
	if errors.Is(err, io.EOF) {
		return node{}, piece, io.EOF
	}
	var n node
	if err == nil {
		n, err = j.value(t, 1)
	}
	if err != nil {
		return node{}, piece, j.located(err)
	}
	piece.text = j.text[j.start:j.offset]
	return n, piece, nil
}

// onlyObjectsFollow reports whether nothing but another object follows.
func (j *jsonReader) onlyObjectsFollow() bool {
	rest := strings.TrimLeft(j.text[j.offset:], " \t\n")
	return rest == "" || rest[0] == '{'
}

// next is the next token. It moves line to where that ends, which is where it
// starts too: no token of JSON spans lines.
func (j *jsonReader) next() (json.Token, error) {
	t, err := j.decoder.Token()
	end := int(j.decoder.InputOffset())
	j.line += strings.Count(j.text[j.offset:end], "\n")
	j.offset = end
	if err == nil && j.offset-j.start > maxText {
		err = excessText.problem(j.line)
	}
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
		if len(n.entries) > 0 {
			if j.commas++; j.commas > maxElements {
				return excessElements.problem(j.line)
			}
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
