package secure

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/clienthello"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestWhatIsShortAgreesOnAFastGroup, whatever the client prefers, and what a browser sends is short.
func TestWhatIsShortAgreesOnAFastGroup(t *testing.T) {
	ca := securetest.New(t)
	tickets, err := NewTickets(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(securetest.Listener(ca.Certificate(securetest.Config{Names: []string{"shop.test"}})), tickets, HTTP1)
	for _, c := range []struct {
		name   string
		max    uint16
		groups []tls.CurveID
		short  bool
	}{
		{"Chrome's", 0, []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384}, true},
		{"of before post-quantum security", 0, []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384}, true},
		{"TLS 1.2", tls.VersionTLS12, []tls.CurveID{tls.CurveP256, tls.CurveP384, tls.CurveP521}, true},
		{"P-384 alone", 0, []tls.CurveID{tls.CurveP384}, false},
		{"ours", 0, nil, true},
		{"P-384 with post-quantum security", 0, []tls.CurveID{tls.SecP384r1MLKEM1024, tls.X25519}, false},
	} {
		client := tls.Config{RootCAs: ca.Pool(), ServerName: "shop.test", MaxVersion: c.max, CurvePreferences: c.groups}
		theirs, ours := newConn(false, &client), server.Conn()
		hello := begin(theirs)
		<-hello.reports
		peeked, _ := clienthello.Peek(theirs.memory.out, nil)
		short := server.Short(string(peeked.Hello.ServerName), peeked.Hello.Groups, peeked.Hello.KeyShares)
		if short != c.short {
			t.Errorf("%s: short: %v", c.name, short)
		}
		theirs.GiveUp()
		hello.resume <- struct{}{}
		<-hello.reports

		shakeHands(t, newConn(false, &client), ours, 1<<20)
		switch group := ours.State().CurveID; {
		case ours.Failed() != nil:
			t.Errorf("%s: %v", c.name, ours.Failed())
		case short && !slices.Contains([]tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256}, group):
			t.Errorf("%s: short, and agrees on %v", c.name, group)
		}
	}
}

// TestAGroupThatIsSlowIsNotShort where clients are other than ours.
func TestAGroupThatIsSlowIsNotShort(t *testing.T) {
	of := func(groups ...tls.CurveID) func(func(uint16) bool) {
		return func(yield func(uint16) bool) {
			for _, g := range groups {
				if !yield(uint16(g)) {
					return
				}
			}
		}
	}
	const grease = 0x2a2a // RFC 8701
	for _, c := range []struct {
		groups, shares func(func(uint16) bool)
		short          bool
	}{
		{of(grease, tls.X25519), of(grease, tls.X25519), true},
		{of(tls.X25519MLKEM768), of(tls.X25519MLKEM768), true},
		{of(tls.X25519, tls.CurveP384), of(), true},
		{of(tls.CurveP521, tls.X25519), of(), false}, // in TLS 1.2
		{of(tls.X25519, tls.CurveP384), of(tls.CurveP384), false},
		{of(tls.X25519, tls.CurveP521), of(tls.X25519, tls.CurveP521), true},
		{of(tls.X25519, tls.CurveP521), of(tls.CurveP521), false},
		{of(tls.X25519MLKEM768, tls.CurveP521, tls.X25519), of(tls.X25519MLKEM768), false},                // in TLS 1.2
		{of(tls.X25519MLKEM768, tls.X25519, tls.CurveP384), of(tls.X25519MLKEM768, tls.CurveP384), false}, // where GODEBUG forbids the first
		{of(tls.X25519MLKEM768, tls.SecP256r1MLKEM768), of(tls.SecP256r1MLKEM768), false},
		{of(tls.SecP256r1MLKEM768, tls.X25519MLKEM768), of(), true},
		{of(tls.SecP256r1MLKEM768, tls.X25519), of(tls.X25519), false},
		{of(grease), of(), false},
		{of(), of(), false},
	} {
		if got := agreesFast(c.groups, c.shares); got != c.short {
			t.Errorf("groups %x, shares %x: short: %v", slices.Collect(c.groups), slices.Collect(c.shares), got)
		}
	}
}

// TestShortIsByTheCertificatesOfAName, all of them, and not where clients show theirs.
func TestShortIsByTheCertificatesOfAName(t *testing.T) {
	ca := securetest.New(t)
	tickets, err := NewTickets(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	with := func(name string, key any) *table.Certificate {
		c := ca.Certificate(securetest.Config{Names: []string{name}})
		if key != nil {
			c.Pair.PrivateKey = key
		}
		return c
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	listener := securetest.Listener(with("p256.test", nil), with("p384.test", p384), with("edwards.test", edwards),
		ca.Certificate(securetest.Config{Names: []string{"rsa.test"}, RSA: true}),
		with("both.test", nil), ca.Certificate(securetest.Config{Names: []string{"both.test"}, RSA: true}))
	fast := slices.Values([]uint16{uint16(tls.X25519)})
	for name, want := range map[string]bool{"p256.test": true, "edwards.test": true, "p384.test": false, "rsa.test": false, "both.test": false} {
		if got := NewServer(listener, tickets, HTTP1).Short(name, fast, fast); got != want {
			t.Errorf("%s: short: %v", name, got)
		}
	}
	asks := *listener
	asks.ClientAuth = &table.ClientAuth{CAs: ca.Pool()}
	if NewServer(&asks, tickets, HTTP1).Short("p256.test", fast, fast) {
		t.Error("with certificates of clients to be verified")
	}
}
