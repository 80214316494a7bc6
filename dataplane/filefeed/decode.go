package filefeed

import (
	"fmt"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/input"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// MaxText bounds a text of resources: what a control plane takes is enough.
const MaxText = api.MaxBody

// Text is resources in YAML or JSON, and what messages call it: a file, mostly.
type Text struct {
	Name string
	Data []byte
}

// Decoded are the resources of texts, and where they stand there.
type Decoded struct {
	Tree      tree.Tree
	documents []resource.Document
	// places is the first document of each key, among those that were looked at: it is
	// made when it is asked.
	places map[resource.Key]int
	looked int
}

// Decode makes one configuration of texts, or says what is wrong with them. What they
// name (a certificate's chain) is read beside them.
func Decode(texts ...Text) (Decoded, []resource.Problem, error) {
	return decode(texts, func(of, name string) ([]byte, error) {
		return input.Read(input.Beside(of, name), resource.MaxSize+1) // one more is too many, as is told
	})
}

// decode is Decode; beside reads what a text names. Texts without a resource are
// refused: a file was emptied in order to be written, or what writes it failed, and all
// listeners would close.
func decode(texts []Text, beside func(of, name string) ([]byte, error)) (d Decoded, problems []resource.Problem, err error) {
	whole := true
	for _, text := range texts {
		data, wrong := resource.InlineFiles(text.Data, text.Name, func(name string) ([]byte, error) { return beside(text.Name, name) })
		if len(wrong) > 0 {
			problems, whole = append(problems, wrong...), false
			continue
		}
		docs, wrong := resource.Decode(data, resource.DecodeOptions{File: text.Name})
		problems = append(append(problems, wrong...), d.again(docs)...)
		d.documents = append(d.documents, docs...)
	}
	if whole { // else what is missing may stand in a text that could not be read
		problems = append(problems, resource.Dangling(d.documents, func(resource.Key) bool { return false })...)
	}
	if len(d.documents) == 0 && len(problems) == 0 {
		problems = append(problems, resource.Problem{Got: "no resource", Expected: "at least one"})
	}
	if len(problems) > 0 {
		for i := range problems {
			if len(texts) == 1 {
				problems[i].File = texts[0].Name
			}
		}
		resource.SortProblems(problems)
		return Decoded{}, problems, nil
	}
	for i := range d.documents {
		doc := &d.documents[i]
		bytes, err := resource.Canonical(doc.Resource)
		if err != nil {
			return Decoded{}, nil, err
		}
		d.Tree = d.Tree.Set(doc.Key, bytes)
		doc.Resource = nil // the place alone is wanted from here on
	}
	return d, nil, nil
}

// again finds the resources of a text that stand in one before it already. Those that
// stand in it twice were told.
func (d *Decoded) again(docs []resource.Document) (problems []resource.Problem) {
	if len(d.documents) == 0 {
		return nil
	}
	for i := range docs {
		doc := &docs[i]
		first := d.document(doc.Key)
		if first == nil || doc.Key.Name == "" {
			continue
		}
		at := first.Locate(resource.Problem{Field: "name"})
		p := doc.Locate(resource.Problem{
			Kind: doc.Key.Kind, Name: doc.Key.Name, Field: "name", Got: doc.Key.String() + " again",
			Expected: fmt.Sprintf("each kind and name once; the first is at %s:%d", at.File, at.Line),
		})
		problems = append(problems, p)
	}
	return problems
}

// document is the first that declares a key; nil: there is none.
func (d *Decoded) document(key resource.Key) *resource.Document {
	if d.places == nil {
		d.places = map[resource.Key]int{}
	}
	for ; d.looked < len(d.documents); d.looked++ {
		if _, known := d.places[d.documents[d.looked].Key]; !known {
			d.places[d.documents[d.looked].Key] = d.looked
		}
	}
	i, known := d.places[key]
	if !known {
		return nil
	}
	return &d.documents[i]
}

// Locate adds to problems of the resources where these stand, which compiling does not
// know.
func (d *Decoded) Locate(problems []resource.Problem) []resource.Problem {
	var located []resource.Problem
	for _, p := range problems {
		if p.Line == 0 {
			if doc := d.document(p.Key()); doc != nil {
				p = doc.Locate(p)
			}
		}
		located = append(located, p)
	}
	resource.SortProblems(located)
	return located
}

// Describe prints the problems of a file, one to a line, each with its place.
func Describe(path string, problems []resource.Problem) string {
	var b strings.Builder
	if len(problems) == 1 {
		fmt.Fprintf(&b, "1 problem in %s", path)
	} else {
		fmt.Fprintf(&b, "%d problems in %s", len(problems), path)
	}
	for _, p := range problems {
		b.WriteString("\n  ")
		b.WriteString(p.String())
	}
	return b.String()
}
