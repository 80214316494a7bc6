package resource

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// NotSupported is what is expected of a field, value or kind whose behaviour
// does not exist yet.
const NotSupported = "not supported yet"

// Problem is one thing that is wrong with one resource, told so that a person
// can put it right without looking anything up.
type Problem struct {
	File     string // as given to Decode; "" if it did not come from a file
	Document int    // 1-based position in the input; 0: not from an input
	Line     int    // 1-based line in the input; 0: not known
	Kind     string
	Name     string
	Field    string // "spec.endpoints[0].address"; "" for the whole document
	Got      string // what stands there, shortened
	Expected string // what should stand there
	// Suggestion is what was probably meant, ready to be typed; "" if nothing is near.
	Suggestion string
}

// Error says everything that the problem holds, in one line:
//
//	shop.yaml:24: document 4: Upstream/api: spec.endpoints[0].address: got "10.0.0.1:99999", expected …; did you mean …?
func (p Problem) Error() string {
	var b strings.Builder
	switch {
	case p.File != "" && p.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	case p.File != "":
		fmt.Fprintf(&b, "%s: ", p.File)
	case p.Line > 0:
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Document > 0 {
		fmt.Fprintf(&b, "document %d: ", p.Document)
	}
	if p.Kind != "" || p.Name != "" {
		fmt.Fprintf(&b, "%s/%s: ", cmp.Or(p.Kind, "?"), cmp.Or(p.Name, "?"))
	}
	if p.Field != "" {
		fmt.Fprintf(&b, "%s: ", p.Field)
	}
	b.WriteString(p.Message())
	return b.String()
}

// Message is the problem without its place: what was got, what was expected and
// what was probably meant.
func (p Problem) Message() string {
	var b strings.Builder
	switch {
	case p.Expected == NotSupported && p.Got != "" && !strings.HasSuffix(p.Field, p.Got):
		fmt.Fprintf(&b, "%s: %s", p.Got, NotSupported)
	case p.Expected == NotSupported:
		b.WriteString(NotSupported)
	case p.Got != "" && p.Expected != "":
		fmt.Fprintf(&b, "got %s, expected %s", p.Got, p.Expected)
	case p.Expected != "":
		fmt.Fprintf(&b, "expected %s", p.Expected)
	default:
		b.WriteString(p.Got)
	}
	if p.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %s?", p.Suggestion)
	}
	return b.String()
}

// String is Error.
func (p Problem) String() string { return p.Error() }

// Key names the resource that the problem is about.
func (p Problem) Key() Key { return Key{Kind: p.Kind, Name: p.Name} }

// Proto is the problem as nodes and control planes exchange it.
func (p Problem) Proto() *fleetv1.Problem {
	return &fleetv1.Problem{
		File:       p.File,
		Document:   uint32(max(p.Document, 0)),
		Line:       uint32(max(p.Line, 0)),
		Kind:       p.Kind,
		Name:       p.Name,
		Field:      p.Field,
		Got:        p.Got,
		Expected:   p.Expected,
		Suggestion: p.Suggestion,
	}
}

// ProblemFromProto is the inverse of Problem.Proto.
func ProblemFromProto(p *fleetv1.Problem) Problem {
	return Problem{
		File:       p.GetFile(),
		Document:   int(p.GetDocument()),
		Line:       int(p.GetLine()),
		Kind:       p.GetKind(),
		Name:       p.GetName(),
		Field:      p.GetField(),
		Got:        p.GetGot(),
		Expected:   p.GetExpected(),
		Suggestion: p.GetSuggestion(),
	}
}

// SortProblems orders problems as a reader meets them: by file, document, line,
// then resource and field. Problems of one place keep their order.
func SortProblems(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Document, b.Document),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Field, b.Field),
		)
	})
}
