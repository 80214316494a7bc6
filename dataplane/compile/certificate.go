package compile

import (
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/certificate"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// Certificate returns the certificate with the given name, or nil.
func (r *Result) Certificate(name string) *certificate.Pair {
	pair, _ := r.certificates.Get(name)
	return pair
}

// Certificates calls visit for each certificate, in no order, until it is false.
func (r *Result) Certificates(visit func(name string, pair *certificate.Pair) bool) {
	r.certificates.All()(visit)
}

// compileCertificates reads the certificates that changed, before those that
// refer to them are compiled. Whatever refers to one is compiled again, from its own
// leaf, as if it had changed: so it gets the new certificate, or is told that
// there is none.
func (c *compiler) compileCertificates() {
	for _, name := range c.certificates.removed {
		c.built.certificates = c.built.certificates.Delete(c.edit, name)
		c.touchUsers(name)
	}
	for i := range c.certificates.upserts {
		leaf := &c.certificates.upserts[i]
		c.built.certificates = c.built.certificates.Delete(c.edit, leaf.Key.Name)
		c.touchUsers(leaf.Key.Name)
		r := c.read(leaf)
		if r == nil {
			continue
		}
		c.spend(costCertificate)
		// It was checked by the same function.
		if pair, _ := certificate.Parse(r.GetCertificate().GetChain(), r.GetCertificate().GetKey()); pair != nil {
			c.built.certificates = c.built.certificates.Set(c.edit, leaf.Key.Name, pair)
		}
	}
	for _, kind := range []string{resource.Listener, resource.Upstream} {
		c.noteUsers(kind)
	}
}

// touchUsers has everything that refers to a certificate compiled again.
func (c *compiler) touchUsers(name string) {
	users, _ := c.prev.byCertificate.Get(name)
	for user := range users.All() {
		kind, name, _ := strings.Cut(user, "/")
		of := c.changesOf(kind)
		if slices.Contains(of.removed, name) || slices.ContainsFunc(of.upserts, func(l tree.Leaf) bool { return l.Key.Name == name }) {
			continue
		}
		if leaf, ok := c.next.Get(tree.Key{Kind: kind, Name: name}); ok {
			of.upserts = append(of.upserts, leaf)
		}
	}
}

// noteUsers notes which certificates the changed resources of a kind refer to,
// and tells of those that are not there.
func (c *compiler) noteUsers(kind string) {
	of := c.changesOf(kind)
	for _, name := range of.removed {
		c.noteUser(tree.Key{Kind: kind, Name: name}, nil)
	}
	for i := range of.upserts {
		leaf := &of.upserts[i]
		var names []string
		r, err := resource.Parse(leaf.Bytes)
		if err != nil {
			continue // it is told where the leaf is read
		}
		for field, to := range resource.References(r) {
			if to.Kind != resource.Certificate {
				continue
			}
			names = append(names, to.Name)
			if !c.exists(to.Kind, to.Name) {
				c.missing(leaf.Key, field, to)
			}
		}
		c.noteUser(leaf.Key, names)
	}
}

// noteUser replaces what a resource refers to.
func (c *compiler) noteUser(key tree.Key, names []string) {
	user := key.Kind + "/" + key.Name
	old, _ := c.built.certificatesOf.Get(user)
	for _, name := range old {
		c.unrefer(&c.built.byCertificate, name, user)
	}
	for _, name := range names {
		c.refer(&c.built.byCertificate, name, user)
	}
	switch {
	case len(names) > 0:
		c.built.certificatesOf = c.built.certificatesOf.Set(c.edit, user, names)
	case len(old) > 0:
		c.built.certificatesOf = c.built.certificatesOf.Delete(c.edit, user)
	}
}
