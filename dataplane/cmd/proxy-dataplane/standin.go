package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/proto/certificate"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// withStandIns puts another certificate of the same names and time in the place of each
// that has the fingerprint of its key instead of the key. What runs is shown in that form,
// and lint and explain are for that above all; nothing is ever served by it.
func withStandIns(resources tree.Tree) (tree.Tree, error) {
	next := resources
	for leaf := range resources.All() {
		if leaf.Key.Kind != resource.Certificate {
			continue
		}
		r, err := resource.Parse(leaf.Bytes)
		if err != nil {
			return next, err
		}
		shown := r.GetCertificate()
		if shown == nil || shown.KeyFingerprint == nil {
			continue
		}
		chain, fault := certificate.ParseChain(shown.GetChain())
		if fault != nil {
			continue // which compiling tells
		}
		if shown.Chain, shown.Key, err = standIn(chain[0]); err != nil {
			return next, err
		}
		shown.KeyFingerprint = nil
		bytes, err := resource.Canonical(r)
		if err != nil {
			return next, err
		}
		next = next.Set(leaf.Key, bytes)
	}
	return next, nil
}

// standIn makes a certificate like another one, with a key that is known.
func standIn(like *x509.Certificate) (chain, key *string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: like.Subject,
		DNSNames: like.DNSNames, IPAddresses: like.IPAddresses,
		NotBefore: like.NotBefore, NotAfter: like.NotAfter,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	text := func(kind string, der []byte) *string {
		return proto.String(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	}
	return text("CERTIFICATE", signed), text("PRIVATE KEY", secret), nil
}
