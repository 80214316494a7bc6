package floorstest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Project is the prefix of the project's own import paths.
const Project = "github.com/proxyfleet/proxyfleet/"

// Module is the table of a module: what its packages are and may import.
type Module struct {
	// Name is the module's path below Project, such as "dataplane".
	Name string
	// Packages are the module's packages, each once.
	Packages []Package
	// Others are what the module may import from other modules of the project,
	// as paths below Project; "proto/..." stands for proto and all below it.
	Others []string
	// Bans keep imports to few packages.
	Bans []Ban
}

// Package is one row of the table.
type Package struct {
	// Dir is the package's path in its module; "." is the root.
	Dir string
	// Floor is above the floors of everything in the module that it imports.
	Floor int
	// Pure: results depend on arguments alone. No net, os or sync, no clock, no
	// goroutine (net/netip and sync/atomic are fine).
	Pure bool
	// Generated: types and calls written by a generator. Pure packages may use
	// the types, whatever the calls import.
	Generated bool
}

// Ban keeps an import out of a module.
type Ban struct {
	// Import is an import path; a trailing "/..." covers what is below it too.
	Import string
	// Only are the directories of the packages that may import it.
	Only []string
	// Reason is printed with the failure.
	Reason string
}

// Check fails t for every way in which the module around the working directory,
// which is that of the test, departs from m, and docs/ARCHITECTURE.md, where it is
// there, from m.
func Check(t *testing.T, m Module) {
	t.Helper()
	problems, err := Problems(".", m)
	if err != nil {
		t.Fatal(err)
	}
	if page := documented(); page != "" {
		problems = append(problems, Undocumented(page, m)...)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// Problems lists the ways in which the module at root departs from m.
func Problems(root string, m Module) ([]string, error) {
	c := checker{module: m, rows: map[string]Package{}}
	for _, p := range m.Packages {
		if _, twice := c.rows[p.Dir]; twice {
			c.report(m.Name, "package %s stands twice in the table", p.Dir)
		}
		c.rows[p.Dir] = p
	}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return c.directory(root, name, d)
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			return c.file(root, name)
		}
		return nil
	})
	return c.problems, err
}

type checker struct {
	module   Module
	rows     map[string]Package
	unknown  map[string]bool
	problems []string
}

func (c *checker) report(where, format string, args ...any) {
	c.problems = append(c.problems, where+": "+fmt.Sprintf(format, args...))
}

// directory skips what is not part of the module's packages.
func (c *checker) directory(root, name string, d fs.DirEntry) error {
	if name == root {
		return nil
	}
	if d.Name() == "testdata" || d.Name()[0] == '.' || d.Name()[0] == '_' {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return fs.SkipDir // another module
	}
	return nil
}

func (c *checker) file(root, name string) error {
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	dir := path.Dir(rel)
	row, ok := c.rows[dir]
	if !ok {
		if c.unknown == nil {
			c.unknown = map[string]bool{}
		}
		if !c.unknown[dir] {
			c.unknown[dir] = true
			c.report(c.module.Name+"/"+dir, "this package is not in the table of floors: add it to %s/floors_test.go, "+
				"on the lowest floor above everything it imports, and mark it pure if its results depend on its arguments alone", c.module.Name)
		}
		return nil
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	where := c.module.Name + "/" + rel
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		c.imports(where, row, imported)
	}
	if row.Pure {
		c.pure(where, file)
	}
	return nil
}

func (c *checker) imports(where string, row Package, imported string) {
	own := Project + c.module.Name
	switch {
	case imported == own || strings.HasPrefix(imported, own+"/"):
		c.below(where, row, strings.TrimPrefix(strings.TrimPrefix(imported, own), "/"))
	case strings.HasPrefix(imported, Project):
		other := strings.TrimPrefix(imported, Project)
		if !slices.ContainsFunc(c.module.Others, func(pattern string) bool { return covers(pattern, other) }) {
			c.report(where, "imports %s: of the other modules, %s may import %s only",
				other, c.module.Name, orNothing(c.module.Others))
		}
	}
	if strings.HasSuffix(imported, "test") && !strings.HasSuffix(row.Dir, "test") {
		c.report(where, "imports %s: a package that ends in \"test\" is for tests", imported)
	}
	for _, b := range c.module.Bans {
		if covers(b.Import, imported) && !slices.Contains(b.Only, row.Dir) {
			c.report(where, "imports %s: %s (allowed in: %s)", imported, b.Reason, orNothing(b.Only))
		}
	}
	if row.Pure && impure(imported) {
		c.report(where, "imports %s: the package is pure; clocks, randomness and I/O are passed in", imported)
	}
}

// below checks an import within the module.
func (c *checker) below(where string, row Package, dir string) {
	if dir == "" {
		dir = "."
	}
	to, ok := c.rows[dir]
	switch {
	case !ok:
		// Said once, where that package's own files are met.
	case to.Floor >= row.Floor:
		c.report(where, "imports %s (floor %d): imports go strictly down, and %s is on floor %d",
			dir, to.Floor, row.Dir, row.Floor)
	case row.Pure && !to.Pure && !to.Generated:
		c.report(where, "imports %s, which is not pure, and is to be pure itself", dir)
	}
}

// pure looks for what needs no import of its own: clocks and goroutines.
func (c *checker) pure(where string, file *ast.File) {
	clock := ""
	for _, spec := range file.Imports {
		if spec.Path.Value == `"time"` {
			clock = "time"
			if spec.Name != nil {
				clock = spec.Name.Name
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			c.report(where, "starts a goroutine: the package is pure")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == clock && slices.Contains(clocks, n.Sel.Name) {
				c.report(where, "calls time.%s: the package is pure; pass the time in", n.Sel.Name)
			}
		}
		return true
	})
}

var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// impure says whether an import brings in the outside world.
func impure(imported string) bool {
	switch imported {
	case "sync/atomic", "net/netip", "net/url", "net/http":
		return false // net/http for its status codes; bans say where
	}
	for _, pattern := range []string{
		"net/...", "os/...", "sync/...", "syscall/...", "io/ioutil", "log/...",
		"crypto/rand", "golang.org/x/sys/...", "google.golang.org/grpc/...",
	} {
		if covers(pattern, imported) {
			return true
		}
	}
	return false
}

// covers says whether a path, or a path and all below it, takes in p.
func covers(pattern, p string) bool {
	if prefix, all := strings.CutSuffix(pattern, "/..."); all {
		return p == prefix || strings.HasPrefix(p, prefix+"/")
	}
	return p == pattern
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}
