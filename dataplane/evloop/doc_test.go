package evloop

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestThePackagesDocNamesWhatExists looks for each name of doc.go that can only be
// one of the code's: with a capital inside.
func TestThePackagesDocNamesWhatExists(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"minIdle": true} // the schema's
	doc := ""
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() == "doc.go" {
			doc = f.Doc.Text()
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				names[id.Name] = true
			}
			return true
		})
	}
	found := regexp.MustCompile(`\b[a-z]+[A-Z]\w*`).FindAllString(doc, -1)
	for _, name := range found {
		if !names[name] {
			t.Errorf("doc.go speaks of %s, which is not there", name)
		}
	}
	if len(found) < 50 {
		t.Errorf("%d names found", len(found))
	}
}

// TestThePackagesDocNamesEachPartOfALoop so that it stays the account of what there is.
func TestThePackagesDocNamesEachPartOfALoop(t *testing.T) {
	doc, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	loop, err := parser.ParseFile(token.NewFileSet(), "loop.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	parts := 0
	ast.Inspect(loop, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Loop" {
			return true
		}
		for _, field := range spec.Type.(*ast.StructType).Fields.List {
			part, ok := field.Type.(*ast.Ident)
			if !ok || part.Name == "int" || part.Name == "bool" {
				continue
			}
			parts++
			if !regexp.MustCompile(`(?m)^\t` + part.Name + ` `).MatchString(doc.Doc.Text()) {
				t.Errorf("doc.go does not say what %s is", part.Name)
			}
		}
		return false
	})
	if parts < 15 {
		t.Errorf("%d parts found", parts)
	}
}
