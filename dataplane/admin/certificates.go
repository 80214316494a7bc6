package admin

import (
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// maxCertificates bounds the gauges of certificates: those that end first.
const maxCertificates = 1000

// certificates are the ends of those that listeners and upstreams of the table in
// force use.
func (s *scrape) certificates(t *table.Table) {
	used := map[string]*table.Certificate{}
	for i := range t.Listeners {
		if of := t.Listeners[i].TLS; of != nil {
			for _, c := range of.Certificates {
				used[c.Name] = c
			}
		}
	}
	for _, u := range t.Upstreams {
		if u.TLS != nil && u.TLS.Certificate != nil {
			used[u.TLS.Certificate.Name] = u.TLS.Certificate
		}
	}
	list := make([]*table.Certificate, 0, len(used))
	for _, c := range used {
		if c.Pair.Leaf != nil {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *table.Certificate) int {
		if c := a.Pair.Leaf.NotAfter.Compare(b.Pair.Leaf.NotAfter); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, c := range list[:min(len(list), maxCertificates)] {
		s.gauge(metricCertificateEnd, float64(c.Pair.Leaf.NotAfter.Unix()), c.Name)
	}
}
