package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/settings/settingstest"
)

func TestTheReferenceNamesEveryCommandAndNoOther(t *testing.T) {
	text := settingstest.Page(t, "../../../docs/REFERENCE.md")
	_, table, _ := strings.Cut(text, "\n## proxyctl\n")
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

// pages reads what is written for users, by file.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, file := range append(files, "../../../README.md") {
		texts[filepath.Base(file)] = settingstest.Page(t, file)
	}
	return texts
}

// asTyped is a command line of proxyctl in a page: up to the end of its code, or to what
// a shell does with it.
var asTyped = regexp.MustCompile("(?m)(?:^    (?:bin/)?|`(?:bin/)?|&& )proxyctl ([^`|&;>#\n]*)")

func TestPagesNameCommandsAndFlagsThatExist(t *testing.T) {
	seen := 0
	for page, text := range pages(t) {
		for _, match := range asTyped.FindAllStringSubmatch(text, -1) {
			words := strings.Fields(match[1])
			if words[0] == "COMMAND" {
				continue // any
			}
			seen++
			command, rest, err := (&app{}).root().Find(words)
			if err != nil || !command.HasParent() {
				t.Errorf("%s: proxyctl %s: there is no such command", page, match[1])
				continue
			}
			for _, word := range rest {
				name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
				switch flags := command.Flags(); {
				case strings.HasPrefix(word, "--"):
					if flags.Lookup(name) == nil && command.InheritedFlags().Lookup(name) == nil && name != "help" {
						t.Errorf("%s: proxyctl %s: there is no flag %s", page, match[1], word)
					}
				case strings.HasPrefix(word, "-") && len(word) == 2:
					if flags.ShorthandLookup(word[1:]) == nil && command.InheritedFlags().ShorthandLookup(word[1:]) == nil {
						t.Errorf("%s: proxyctl %s: there is no flag %s", page, match[1], word)
					}
				}
			}
		}
	}
	if seen < 50 {
		t.Errorf("%d commands were found", seen)
	}
}

// block is indented text between lines that are not.
var block = regexp.MustCompile(`(?m)(?:^    .*\n)+`)

func TestResourcesOfPagesAreAccepted(t *testing.T) {
	seen := 0
	for page, text := range pages(t) {
		for _, code := range block.FindAllString(text, -1) {
			if !strings.Contains(code, "    kind: ") {
				continue
			}
			code = strings.ReplaceAll("\n"+code, "\n    ", "\n")
			docs, problems := resource.Decode([]byte(code), resource.DecodeOptions{File: page, FilesAllowed: true})
			seen += len(docs)
			for _, p := range problems {
				t.Error(p)
			}
		}
	}
	if seen == 0 {
		t.Error("no page has a resource")
	}
}

// metric is the name of a metric; histograms have three series each.
var metric = regexp.MustCompile(`proxyfleet_[a-z0-9_]*[a-z0-9]`)

// TestPagesNameMetricsThatExist goes by the tables of the reference, which are held to
// the programs where these are.
func TestPagesNameMetricsThatExist(t *testing.T) {
	texts := pages(t)
	known := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(proxyfleet_\\w+)` \\|").FindAllStringSubmatch(texts["REFERENCE.md"], -1) {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			known[row[1]+suffix] = true
		}
	}
	if len(known) < 200 {
		t.Errorf("the reference has %d series", len(known))
	}
	for page, text := range texts {
		for _, name := range metric.FindAllString(text, -1) {
			if !known[name] {
				t.Errorf("%s: %s: there is no such metric", page, name)
			}
		}
	}
}
