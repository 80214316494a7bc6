package accesslog

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/settings/settingstest"
)

func TestTheReferenceNamesEveryKeyAndNoOther(t *testing.T) {
	text := settingstest.Page(t, "../../docs/REFERENCE.md")
	_, table, _ := strings.Cut(text, "\n## Access log\n")
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
