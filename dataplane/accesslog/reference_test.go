package accesslog

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestTheReferenceNamesEveryKeyAndNoOther(t *testing.T) {
	text, err := os.ReadFile("../../docs/REFERENCE.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the module is built without the repository around it")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Access log\n")
	_, table, _ = strings.Cut(table, "| key | |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	told := map[string]bool{}
	for row := range strings.Lines(table) {
		key, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		for _, found := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(key, -1) {
			told[found[1]] = true
		}
	}
	r := failed()
	r.OverBudget = true
	var line map[string]any
	if err := json.Unmarshal(appendLine(nil, &clock{}, &r), &line); err != nil {
		t.Fatal(err)
	}
	for key := range line {
		if !told[key] {
			t.Errorf("docs/REFERENCE.md does not tell the key %s", key)
		}
		delete(told, key)
	}
	for key := range told {
		t.Errorf("docs/REFERENCE.md tells the key %s, which no line has", key)
	}
}
