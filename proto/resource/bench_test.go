package resource

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// manyRoutes is an input of n routes, as a person or a generator would write them.
func manyRoutes(n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `kind: Route
name: api-%05d
labels: {team: orders}
spec:
  hosts: [host-%d.shop.test]
  match:
    path: {prefix: /api/%d}
    headers:
      - {name: x-group, exact: testers}
  forward:
    - {upstream: api-v1, weight: 95}
    - {upstream: api-v2, weight: 5}
  timeouts: {request: 5s}
---
`, i, i%1000, i)
	}
	return []byte(b.String())
}

func BenchmarkDecode10000Documents(b *testing.B) {
	for _, form := range []string{"YAML", "JSON"} {
		data := manyRoutes(10_000)
		if form == "JSON" {
			docs, _ := Decode(data, DecodeOptions{})
			data = nil
			for _, d := range docs {
				data, _ = AppendJSON(data, d.Resource)
				data = append(data, '\n')
			}
		}
		b.Run(form, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if docs, problems := Decode(data, DecodeOptions{}); len(docs) != 10_000 || len(problems) > 0 {
					b.Fatal(len(docs), problems[:min(len(problems), 3)])
				}
			}
		})
	}
}

func benchmarkRoute(b *testing.B) *fleetv1.Resource {
	docs, problems := Decode(manyRoutes(1), DecodeOptions{})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	return docs[0].Resource
}

// What compiling asks for each resource of a fleet's 100,000 routes.
func BenchmarkRoute(b *testing.B) {
	r := benchmarkRoute(b)
	canonical, err := Canonical(r)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(canonical); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if problems := Check(r); len(problems) > 0 {
				b.Fatal(problems)
			}
		}
	})
	b.Run("References", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for range References(r) {
				continue
			}
		}
	})
	b.Run("ApplyDefaults", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ApplyDefaults(r)
		}
	})
	b.Run("WithDefaults", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			WithDefaults(r)
		}
	})
	b.Run("Canonical", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Canonical(r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("AppendYAML", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := AppendYAML(nil, r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Inputs are decoded document by document, so that ten times the documents cost
// ten times as much. Bytes are counted, since time depends on the machine's other
// work; what took the YAML parser quadratic time took it quadratic memory too.
func TestDecodingCostsInProportion(t *testing.T) {
	bytes := func(n int) uint64 {
		data := manyRoutes(n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if docs, problems := Decode(data, DecodeOptions{}); len(docs) != n || len(problems) > 0 {
			t.Fatal(len(docs), problems)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	const few, many = 200, 2000
	if a, b := bytes(few), bytes(many); b > a*many/few*5/4 {
		t.Errorf("%d documents take %d bytes, %d take %d", few, a, many, b)
	}
}
