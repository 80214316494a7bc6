package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/input"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// maxFilesNamed bounds how many characters of file names a message has.
const maxFilesNamed = 60

// documents are resources as they were read from files, joined to one body for
// the server, with what is needed to tell file and line of what it says.
type documents struct {
	body []byte
	// source is the body as the user wrote it: names of files (chainFile) stand in
	// it, and their contents in the body. The lines are the same.
	source []byte
	parts  []part
	// names are all files, and unusable what is wrong with those that are no part of the
	// body, since what they name cannot be read or used.
	names    []string
	unusable []resource.Problem
	// asWritten leaves the names of files as they are: nothing is read.
	asWritten bool
}

// part is one file's share of the body.
type part struct {
	file  string
	first int // the body's line that is the file's first, from 1
}

// readDocuments reads files, folders and "-" (standard input) into one body, with
// the contents of the files that the resources name.
func (a *app) readDocuments(ctx context.Context, paths []string) (documents, error) {
	return a.readInto(ctx, documents{}, paths)
}

// readInto reads files, folders and "-" into d.
func (a *app) readInto(ctx context.Context, d documents, paths []string) (documents, error) {
	if len(paths) == 0 {
		return d, wrongUse("expected -f FILE, -f FOLDER or -f -")
	}
	// One byte more than any server takes is too many, as is told.
	err := input.Each(ctx, paths, a.stdin, api.MaxBody+1, d.add)
	if errors.Is(err, input.ErrStdinTwice) {
		err = &useError{err}
	}
	if err == nil {
		err = d.refused()
	}
	return d, err
}

// refused is what is wrong with the files if some of them cannot be sent: then no server
// says what is wrong with the others.
func (d *documents) refused() error {
	if len(d.unusable) == 0 {
		return nil
	}
	_, problems := resource.Decode(d.body, resource.DecodeOptions{})
	others, all := refusal(problems), refusal(d.unusable)
	d.placeAll(others.Problems)
	all.Problems = d.sorted(append(others.Problems, all.Problems...))
	return all
}

// add appends a file to the body, apart from what was before.
func (d *documents) add(file string, data []byte) error {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	d.names = append(d.names, file)
	whole := data
	if !d.asWritten {
		var problems []resource.Problem
		whole, problems = resource.InlineFiles(data, file, readerBeside(file))
		if len(problems) > 0 {
			d.unusable = append(d.unusable, problems...)
			return nil
		}
	}
	if len(d.body)+len(whole) > api.MaxBody {
		return fmt.Errorf("%s: with it the resources are more than %d MiB, which no server takes", file, api.MaxBody>>20)
	}
	if len(d.parts) > 0 {
		if !bytes.HasSuffix(d.body, []byte("\n")) {
			d.body, d.source = append(d.body, '\n'), append(d.source, '\n')
		}
		d.body, d.source = append(d.body, "---\n"...), append(d.source, "---\n"...)
	}
	d.parts = append(d.parts, part{file, bytes.Count(d.body, []byte("\n")) + 1})
	d.body, d.source = append(d.body, whole...), append(d.source, data...)
	return nil
}

// readerBeside reads the files that the resources of a file name, beside it if
// their names are relative; those of standard input beside the user.
func readerBeside(file string) func(name string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		return input.Read(input.Beside(file, name), resource.MaxSize+1)
	}
}

// refusal is what the control plane would answer.
func refusal(problems []resource.Problem) *api.Error {
	refused := api.NewError(api.TypeInvalid, "")
	for _, p := range problems {
		refused.Problems = append(refused.Problems, api.Problem(p))
	}
	return refused
}

// partOf is the index of the part that a line of the body belongs to.
func (d *documents) partOf(line int) int {
	return max(0, sort.Search(len(d.parts), func(i int) bool { return d.parts[i].first > line })-1)
}

// explain puts files where a refusal speaks of the body, and adds file and line to
// its problems. Other errors stay as they are.
func (d *documents) explain(err error) error {
	var refused *api.Error
	if !errors.As(err, &refused) || len(d.parts) == 0 {
		return err
	}
	if what, ok := strings.CutPrefix(refused.Detail, "body: "); ok {
		refused.Detail = d.files() + ": " + what
	}
	if len(refused.Problems) == 0 {
		return err
	}
	d.placeAll(refused.Problems)
	refused.Problems = d.sorted(refused.Problems)
	return err
}

// placeAll says of problems with the body where they stand in the files.
func (d *documents) placeAll(problems []api.Problem) {
	if len(problems) == 0 {
		return
	}
	// The same decoder as the server's: it counts documents alike.
	docs, _ := resource.Decode(d.body, resource.DecodeOptions{})
	for i := range problems {
		d.place(&problems[i], docs)
	}
}

// sorted are problems in the order of the files.
func (d *documents) sorted(problems []api.Problem) []api.Problem {
	slices.SortStableFunc(problems, func(x, y api.Problem) int { return d.order(x) - d.order(y) })
	return problems
}

// files names the files that were read, as far as that is short.
func (d *documents) files() string {
	return short(d.names, maxFilesNamed)
}

// order is the position of the problem's file; problems of no file come last.
func (d *documents) order(p api.Problem) int {
	if i := slices.Index(d.names, p.File); i >= 0 {
		return i
	}
	return len(d.names)
}

// place turns the problem's document and line in the body into file, document
// and line of a file.
func (d *documents) place(p *api.Problem, docs []resource.Document) {
	if p.Document == 0 && p.Line == 0 {
		// The server may speak of a resource without knowing that it was sent.
		p.Document = documentOf(docs, p.Kind, p.Name)
	}
	if p.Line == 0 && p.Document > 0 && p.Document <= len(docs) {
		doc := &docs[p.Document-1]
		p.Line = doc.Line
		if p.Field != "" {
			p.Line = doc.LineOf(p.Field)
		}
	}
	if p.Line == 0 {
		if len(d.parts) == 1 && p.Kind == "" && p.Name == "" {
			p.File = d.parts[0].file // about the input as a whole
		}
		return
	}
	if again, ok := strings.CutSuffix(p.Got, " again"); ok && p.Field == "name" {
		d.placeFirst(p, docs, again)
	}
	in := d.parts[d.partOf(p.Line)]
	p.File = in.file
	p.Line -= in.first - 1
	for i := range docs {
		if docs[i].Line < in.first && p.Document > 0 {
			p.Document--
		}
	}
}

// placeFirst says where a resource that is named twice stands for the first
// time: the server can only tell the line of the body.
func (d *documents) placeFirst(p *api.Problem, docs []resource.Document, key string) {
	for i := range docs {
		if docs[i].Key.String() == key {
			in := d.parts[d.partOf(docs[i].Line)]
			p.Expected = fmt.Sprintf("each kind and name once; the first is at %s:%d", in.file, docs[i].Line-in.first+1)
			return
		}
	}
}

func documentOf(docs []resource.Document, kind, name string) int {
	for i := range docs {
		if docs[i].Key.Kind == kind && docs[i].Key.Name == name && name != "" {
			return docs[i].Index
		}
	}
	return 0
}

// objects are what the documents name. They need not be valid otherwise: to
// delete a resource its name is enough.
func (d *documents) objects() ([]object, error) {
	docs, problems := resource.Decode(d.body, resource.DecodeOptions{FilesAllowed: true})
	var objects []object
	for i := range docs {
		key := docs[i].Key
		if key.Kind == "" || key.Name == "" {
			continue // then problems say why
		}
		kind, err := parseKind(key.Kind)
		if err != nil {
			continue
		}
		objects = append(objects, object{kind, key.Name})
	}
	if len(objects) == len(docs) && len(docs) > 0 {
		return objects, nil
	}
	if len(problems) == 0 {
		return nil, errors.New("the files hold no resources")
	}
	return nil, d.explain(refusal(problems))
}
