package resource

import (
	"bytes"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// InlineFiles replaces the fields that name files (chainFile) by the files'
// contents (chain). A document that names files is written anew, as JSON, on the
// lines that it had, so that every other line stays where it was; all other
// documents stay as they are, however broken. read gives a file's content by the
// name that stands in the document.
//
// Problems are told if any is of a document that names files, and then all that
// Decode tells of the input: nothing may be sent then.
func InlineFiles(data []byte, file string, read func(name string) ([]byte, error)) ([]byte, []Problem) {
	if !namesFiles(data) || len(data) > maxInput {
		return data, nil
	}
	text := string(newlines(bytes.TrimPrefix(data, []byte("\uFEFF"))))
	if what, _ := badByte(text); what != "" {
		return data, nil // for Decode to tell
	}
	in := input{options: DecodeOptions{File: file, FilesAllowed: true}, seen: map[Key]int{}}
	var out []byte
	done, failed := 0, false
	for c := range func(yield func(chunk) bool) { chunks(text, yield) } {
		first, told := len(in.documents), len(in.problems)
		goOn := in.chunk(c)
		docs := in.documents[first:]
		if anyNamesFiles(docs) {
			if len(in.problems) == told {
				in.add(resolveAll(docs, read)...)
			}
			if len(in.problems) > told {
				failed = true
			} else {
				out = append(append(out, text[done:c.at]...), onItsLines(docs, c)...)
				done = c.at + len(c.text)
			}
		}
		if !goOn {
			break
		}
	}
	if failed {
		SortProblems(in.problems)
		return nil, in.problems
	}
	return append(out, text[done:]...), nil
}

// namesFiles looks for the names of such fields, to spare inputs without any.
func namesFiles(data []byte) bool {
	for _, kind := range fleetSchema.kinds {
		found := false
		eachFileField(kind.message, func(f *fieldSchema) { found = found || bytes.Contains(data, []byte(f.name)) })
		if found {
			return true
		}
	}
	return false
}

func eachFileField(ms *messageSchema, do func(*fieldSchema)) {
	for _, f := range ms.fields {
		if f.fileOnly {
			do(f)
		}
		if f.message != nil { // messages do not contain themselves
			eachFileField(f.message, do)
		}
	}
}

func anyNamesFiles(docs []Document) bool {
	for i := range docs {
		found := false
		if docs[i].Resource != nil {
			_ = eachFile(docs[i].Resource, func(*fieldSchema, protoreflect.Message, path) error { found = true; return nil })
		}
		if found {
			return true
		}
	}
	return false
}

// eachFile visits the fields of r that name files.
func eachFile(r *fleetv1.Resource, visit func(f *fieldSchema, in protoreflect.Message, at path) error) error {
	spec, m := fleetSchema.kindOf(r)
	if spec == nil {
		return nil
	}
	var walk func(ms *messageSchema, m protoreflect.Message, at path) error
	walk = func(ms *messageSchema, m protoreflect.Message, at path) error {
		for _, f := range ms.fields {
			if !m.Has(f.desc) || f.list || f.dict {
				continue
			}
			below := append(at[:len(at):len(at)], step{key: f.name})
			if f.fileOnly {
				if err := visit(f, m, below); err != nil {
					return err
				}
			} else if f.message != nil {
				if err := walk(f.message, m.Get(f.desc).Message(), below); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk(spec.message, m, path{{key: "spec"}})
}

// resolveAll reads the files of documents, and checks what they hold.
func resolveAll(docs []Document, read func(string) ([]byte, error)) []Problem {
	var problems []Problem
	for i := range docs {
		if docs[i].Resource != nil {
			problems = append(problems, resolve(&docs[i], read)...)
		}
	}
	return problems
}

func resolve(d *Document, read func(string) ([]byte, error)) []Problem {
	var problems []Problem
	tell := func(p Problem) {
		p.Kind, p.Name = d.Key.Kind, d.Key.Name
		problems = append(problems, d.Locate(p))
	}
	files := map[string]string{} // field with the content → field with the name
	names := map[string]string{} // field with the content → file
	_ = eachFile(d.Resource, func(f *fieldSchema, m protoreflect.Message, at path) error {
		name, parent := m.Get(f.desc).String(), at[:len(at)-1]
		content := strings.TrimSuffix(f.name, "File")
		to := f.desc.ContainingMessage().Fields().ByJSONName(content)
		text, err := read(name)
		switch {
		case err != nil:
			tell(Problem{Field: at.String(), Got: strings.TrimPrefix(err.Error(), "open "), Expected: "a file that can be read"})
			return nil
		case len(text) > MaxSize:
			tell(Problem{Field: at.String(), Got: fmt.Sprintf("%s with %d bytes", quote(name), len(text)), Expected: "a file of at most 256 KiB"})
			return nil
		}
		if what, line := badByte(string(newlines(text))); what != "" {
			tell(Problem{Field: at.String(), Got: fmt.Sprintf("%s with %s on line %d", quote(name), what, line), Expected: "a text file (PEM)"})
			return nil
		}
		m.Set(to, protoreflect.ValueOfString(string(newlines(text))))
		m.Clear(f.desc)
		field := append(parent[:len(parent):len(parent)], step{key: content}).String()
		files[field], names[field] = at.String(), name
		return nil
	})
	if len(problems) > 0 {
		return problems
	}
	c := checker{standIns: true}
	c.resource(d.Resource)
	for _, p := range c.values {
		if was, ok := files[p.Field]; ok {
			p.Got = names[p.Field] + ": " + p.Got
			p.Field = was
		}
		tell(p)
	}
	return problems
}

// onItsLines prints documents as JSON, each on its line of the chunk, and as many
// line breaks as the chunk has.
func onItsLines(docs []Document, c chunk) []byte {
	var out []byte
	line := c.line
	for i := range docs {
		for ; line < docs[i].Line; line++ {
			out = append(out, '\n')
		}
		out = append(out, ' ')
		out, _ = AppendSecretJSON(out, docs[i].Resource) // what was decoded has a text form
	}
	for last := c.line + strings.Count(c.text, "\n"); line < last; line++ {
		out = append(out, '\n')
	}
	return out
}
