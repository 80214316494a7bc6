package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestTheReferenceNamesEveryCommandAndNoOther(t *testing.T) {
	text, err := os.ReadFile("../../../docs/REFERENCE.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the module is built without the repository around it")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## proxyctl\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := map[string]bool{}
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| `proxyctl ") {
			rows[strings.TrimSpace(line)] = true
		}
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if c.Hidden || !c.HasParent() || c.Name() == "help" {
			return
		}
		row := "| `" + c.CommandPath() + "` | " + c.Short + " |"
		if !rows[row] {
			t.Errorf("docs/REFERENCE.md has no row\n%s", row)
		}
		delete(rows, row)
	}
	visit((&app{}).root())
	for row := range rows {
		t.Errorf("docs/REFERENCE.md has a row of no command\n%s", row)
	}
}
