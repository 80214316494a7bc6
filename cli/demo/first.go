package demo

import (
	_ "embed"
	"regexp"
	"strings"
)

//go:embed first.yaml
var firstYAML string

// documentBreak stands between the documents of first.yaml.
const documentBreak = "---\n"

// firstConfiguration returns the resources that the demo applies, and the names
// of those that it leaves out because nothing runs them yet.
func firstConfiguration() (yaml string, leftOut []string) {
	kind := regexp.MustCompile(`(?m)^kind: (\w+)$`)
	name := regexp.MustCompile(`(?m)^name: (\S+)$`)
	var kept []string
	for _, document := range strings.Split(firstYAML, documentBreak) {
		k, n := kind.FindStringSubmatch(document), name.FindStringSubmatch(document)
		if k != nil && n != nil && k[1] == "VirtualIP" {
			leftOut = append(leftOut, k[1]+"/"+n[1])
			continue
		}
		kept = append(kept, document)
	}
	return strings.Join(kept, documentBreak), leftOut
}
