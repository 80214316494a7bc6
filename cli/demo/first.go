package demo

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/resource"
)

//go:embed first.yaml
var firstYAML string

// documentBreak stands between the documents of first.yaml.
const documentBreak = "---\n"

// firstConfiguration returns the resources that the demo applies, and the names
// of those that it leaves out because this build's schema does not take them yet.
func firstConfiguration() (yaml string, leftOut []string) {
	var kept []string
	for _, document := range strings.Split(firstYAML, documentBreak) {
		docs, problems := resource.Decode([]byte(document), resource.DecodeOptions{})
		missing := func(p resource.Problem) bool { return p.Expected == resource.NotSupported }
		if slices.ContainsFunc(problems, missing) && len(docs) == 1 {
			leftOut = append(leftOut, docs[0].Key.String())
			continue
		}
		kept = append(kept, document)
	}
	return strings.Join(kept, documentBreak), leftOut
}

// hasVIP says whether the first configuration has its virtual IP.
func hasVIP() bool {
	_, leftOut := firstConfiguration()
	return len(leftOut) == 0
}
