package resource

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// Document is one resource of an input, with where it stands.
type Document struct {
	Index int // 1-based, counting the documents that hold something
	Line  int // 1-based line of the input on which it starts
	// Resource is what could be read. It is whole if Broken is false; else it may
	// be nil, or lack what was wrong.
	Resource *fleetv1.Resource
	Broken   bool // a problem was found in it
	Key      Key  // kind and name, as far as they could be read

	file string
	// source is where root came from. Of large inputs the texts are kept and the
	// trees, which are ten times larger, made again when a line is asked for.
	source chunk
	root   *node
}

// LineOf is the line on which the field at a path ("spec.endpoints[0].address")
// stands, or the nearest line above it in the document. The first call parses
// the document's text again. Not for concurrent use.
func (d *Document) LineOf(fieldPath string) int {
	if d.root == nil {
		root, err := d.source.parse()
		if err != nil {
			return d.Line
		}
		d.root = &root
	}
	return d.root.lineOf(parsePath(fieldPath), d.Line)
}

// Locate adds to a problem that was found in the document's resource where it
// stands: file, document and line.
func (d *Document) Locate(p Problem) Problem {
	p.File, p.Document, p.Line = d.file, d.Index, d.LineOf(p.Field)
	return p
}

// DecodeOptions say how to read an input.
type DecodeOptions struct {
	File string // for problems; may be empty
	// FilesAllowed permits the fields that name files (chainFile). InlineFiles
	// resolves them before the resource goes anywhere.
	FilesAllowed bool
}

// Decode reads YAML or JSON, several documents to an input, and tells everything
// that is wrong with it, by document and line. Every document that holds
// something is in the result, a broken one too. An input without a resource
// gives neither documents nor problems.
//
// Of one document, either what is wrong or what is not supported yet is told: a
// wrong value is wrong today and later. References to resources that do not
// exist are for Dangling to find.
func Decode(data []byte, o DecodeOptions) ([]Document, []Problem) {
	in := input{options: o, seen: map[Key]int{}}
	if len(data) > maxInput {
		in.add(Problem{File: o.File, Line: 1, Got: fmt.Sprintf("%d bytes", len(data)), Expected: "an input of at most 64 MiB"})
		return nil, in.problems
	}
	text := string(newlines(data))
	if otherEncoding(data) {
		in.add(Problem{File: o.File, Line: 1, Got: "text in UTF-16", Expected: "printable text in UTF-8"})
		return nil, in.problems
	}
	if what, line := badByte(text); what != "" {
		in.add(Problem{File: o.File, Line: line, Got: what, Expected: "printable text in UTF-8"})
		return nil, in.problems
	}
	for c := range func(yield func(chunk) bool) { chunks(text, yield) } {
		if !in.chunk(c) {
			break
		}
	}
	SortProblems(in.problems)
	return in.documents, in.problems
}

// input is the state of one Decode.
type input struct {
	options   DecodeOptions
	documents []Document
	problems  []Problem
	seen      map[Key]int // index in documents of the first that declares a key
}

// add keeps a problem; false if no more are kept.
func (in *input) add(ps ...Problem) bool {
	for _, p := range ps {
		if len(in.problems) == maxProblems {
			in.problems = append(in.problems, Problem{
				File: p.File, Document: p.Document, Line: p.Line,
				Got: "more problems than are told at once", Expected: fmt.Sprintf("at most %d", maxProblems),
			})
		}
		if len(in.problems) > maxProblems {
			return false
		}
		in.problems = append(in.problems, p)
	}
	return true
}

// chunk reads what stands between two separators: one YAML document, or JSON
// values in a row. It is false when nothing more needs to be read.
func (in *input) chunk(c chunk) bool {
	if c.looksLikeJSON() {
		j := newJSONReader(c)
		root, piece, err := j.read()
		if err == nil && j.onlyObjectsFollow() {
			return in.values(j, root, piece)
		}
		if excessive(err) {
			return in.unreadable(c, err) // as any reader would find
		}
	}
	root, err := c.parse()
	if err != nil {
		return in.unreadable(c, err)
	}
	return in.document(root, c)
}

// values decodes a first JSON value and those that follow it.
func (in *input) values(j *jsonReader, root node, piece chunk) bool {
	for in.document(root, piece) {
		var err error
		if root, piece, err = j.read(); errors.Is(err, io.EOF) {
			return true
		} else if err != nil {
			return in.unreadable(piece, err)
		}
	}
	return false
}

// unreadable adds a document that has no values.
func (in *input) unreadable(c chunk, err error) bool {
	d := Document{Index: len(in.documents) + 1, Line: c.line, Broken: true, file: in.options.File, source: c}
	in.documents = append(in.documents, d)
	p := Problem{File: d.file, Document: d.Index, Line: c.line, Got: err.Error(), Expected: "YAML or JSON"}
	if tp := (*textProblem)(nil); errors.As(err, &tp) {
		p.Line, p.Got, p.Expected = tp.line, tp.got, tp.expected
	}
	return in.add(p) && len(in.documents) < maxDocuments
}

// looksLikeJSON is true for what begins with a brace.
func (c chunk) looksLikeJSON() bool {
	return strings.HasPrefix(strings.TrimLeft(c.text, " \t\n"), "{")
}

// parse reads the one value of a chunk: as JSON where it looks like that, and as
// YAML otherwise.
func (c chunk) parse() (node, error) {
	var jsonErr error
	if c.looksLikeJSON() {
		j := newJSONReader(c)
		root, _, err := j.read()
		if excessive(err) {
			return node{}, err
		}
		if err == nil && strings.TrimLeft(j.text[j.offset:], " \t\n") == "" {
			return root, nil
		}
		if afterBrace := strings.TrimLeft(c.text, " \t\n{"); strings.HasPrefix(afterBrace, `"`) {
			jsonErr = err // {name: x} is meant to be YAML
		}
	}
	if strings.HasPrefix(c.text, "%") {
		return node{}, &textProblem{line: c.line, got: "a directive", expected: "documents without directives"}
	}
	if len(c.text) > maxText {
		return node{}, excessText.problem(c.line)
	}
	root, err := parseYAML(c.text, c.line)
	if err != nil && jsonErr != nil {
		err = jsonErr
	}
	return root, err
}

// document decodes one value. It is false when nothing more needs to be read.
func (in *input) document(root node, source chunk) bool {
	d := Document{Index: len(in.documents) + 1, Line: int(root.line), file: in.options.File, source: source, root: &root}
	if d.Index > maxDocuments {
		in.add(Problem{File: d.file, Document: d.Index, Line: d.Line, Got: "more documents", Expected: fmt.Sprintf("at most %d in one input", maxDocuments)})
		return false
	}
	dec := decoder{document: &d}
	dec.resource(d.root)
	problems := dec.problems
	if d.Resource != nil && !dec.full() {
		c := checker{filesAllowed: in.options.FilesAllowed, standIns: true, reported: dec.reported}
		c.resource(d.Resource)
		for _, p := range c.values {
			problems = append(problems, d.Locate(p))
		}
		if len(source.text) > MaxSize/4 && proto.Size(d.Resource) > MaxSize {
			problems = append(problems, d.Locate(Problem{
				Got: fmt.Sprintf("%d bytes", proto.Size(d.Resource)), Expected: "a resource of at most 256 KiB",
			}))
		}
		if p, again := in.repeated(&d); again {
			problems = append(problems, p)
		}
		if len(problems) == 0 {
			for _, p := range c.unsupported {
				problems = append(problems, d.Locate(p))
			}
		}
	}
	for i := range problems {
		problems[i].Kind, problems[i].Name = d.Key.Kind, d.Key.Name
	}
	d.Broken = len(problems) > 0
	d.root = nil
	in.documents = append(in.documents, d)
	return in.add(problems...)
}

// repeated is the problem of a document whose kind and name an earlier one has.
func (in *input) repeated(d *Document) (Problem, bool) {
	if d.Key.Kind == "" || d.Key.Name == "" {
		return Problem{}, false
	}
	first, again := in.seen[d.Key]
	if !again {
		in.seen[d.Key] = d.Index - 1
		return Problem{}, false
	}
	return d.Locate(Problem{
		Field: "name", Got: d.Key.String() + " again",
		Expected: fmt.Sprintf("each kind and name once; the first is on line %d", in.documents[first].Line),
	}), true
}
