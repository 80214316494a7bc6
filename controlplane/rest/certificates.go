package rest

import (
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/certificate"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// maxWarnings bounds the warnings of one answer.
const maxWarnings = 100

// keepCertificates is a rollback's target with what must not come back taken out: a
// certificate that expired, or is older than the one in force. The one in force
// stays in its place; if there is none, there is none afterwards either.
func keepCertificates(base, target tree.Tree, now time.Time) (next tree.Tree, kept []api.KeptCertificate) {
	next = target
	for _, d := range differences(base, target) {
		if d.key.Kind != resource.Certificate || d.after == nil {
			continue
		}
		old := leafOf(d.after)
		if old == nil {
			continue // what cannot be read is told by the check
		}
		k := api.KeptCertificate{Name: d.key.Name, NotAfter: old.NotAfter.UTC()}
		inForce := leafOf(d.before)
		switch {
		case now.After(old.NotAfter):
			k.Reason = api.KeptExpired
		case inForce != nil && certificate.Older(old, inForce):
			k.Reason = api.KeptOlder
		default:
			continue
		}
		if d.before == nil {
			next = next.Delete(d.key)
		} else {
			next = next.Set(d.key, d.before)
			if inForce != nil {
				end := inForce.NotAfter.UTC()
				k.InForce = &end
			}
		}
		kept = append(kept, k)
	}
	return next, kept
}

// leafOf is the certificate of a resource's bytes; nil: there is none.
func leafOf(canonical []byte) *x509.Certificate {
	if canonical == nil {
		return nil
	}
	r, err := resource.Parse(canonical)
	if err != nil {
		return nil
	}
	chain, fault := certificate.ParseChain(r.GetCertificate().GetChain())
	if fault != nil {
		return nil
	}
	return chain[0]
}

// keptProblems explain, where a rollback is refused for what it may not bring back,
// how to bring it back all the same.
func keptProblems(kept []api.KeptCertificate) []resource.Problem {
	var problems []resource.Problem
	for _, k := range kept {
		if k.InForce == nil {
			problems = append(problems, resource.Problem{
				Kind: resource.Certificate, Name: k.Name,
				Got:      "a certificate that expired on " + k.NotAfter.Format(time.DateOnly),
				Expected: "one that is valid, put there before; a rollback brings it back only when told to (proxyctl rollback --with-certificates)",
			})
		}
	}
	return problems
}

// warnings tell of the certificates among the changed ones that end soon, or are not valid yet.
func (s *Server) warnings(next tree.Tree, changed []api.Changed) []api.Warning {
	var list []api.Warning
	for _, c := range changed {
		if c.Kind != resource.Certificate || c.Action == api.Deleted {
			continue
		}
		leaf, _ := next.Get(resource.Key{Kind: c.Kind, Name: c.Name})
		if of := leafOf(leaf.Bytes); of != nil {
			list = s.warnOf(list, c.Name, of)
		}
	}
	return list
}

// allWarnings tell of the control plane itself, and then of the certificates in force
// that end soon, or are not valid yet, by their ends.
func (s *Server) allWarnings() []api.Warning {
	var list []api.Warning
	if s.cfg.Notices != nil {
		for _, notice := range s.cfg.Notices() {
			list = append(list, api.Warning{Message: notice})
		}
	}
	if s.cfg.Certificates == nil {
		return list
	}
	type one struct {
		name string
		leaf *x509.Certificate
	}
	var doubtful []one
	now := s.cfg.Now()
	for name, leaf := range s.cfg.Certificates() {
		if certificate.Doubt(leaf, now) != "" {
			doubtful = append(doubtful, one{name, leaf})
		}
	}
	slices.SortFunc(doubtful, func(a, b one) int {
		if c := a.leaf.NotAfter.Compare(b.leaf.NotAfter); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	for _, o := range doubtful {
		list = s.warnOf(list, o.name, o.leaf)
	}
	return list
}

func (s *Server) warnOf(list []api.Warning, name string, leaf *x509.Certificate) []api.Warning {
	message := certificate.Doubt(leaf, s.cfg.Now())
	if message == "" || len(list) == maxWarnings {
		return list
	}
	return append(list, api.Warning{Kind: resource.Certificate, Name: name, Message: message})
}
