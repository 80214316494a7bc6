package secure

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/tls"
	"iter"
)

// Short says that all which a server signs and agrees on in a handshake is fast: it asks for no
// certificate, all certificates of the name that the client asks for sign by P-256 or Ed25519, and the
// group of their keys will be X25519, P-256, or X25519MLKEM768. All of it takes about as long as one
// signature by RSA with 2048 bits does, or less. groups are those that the client has, shares those of
// which it has sent its part of a key. How much it sends is for the caller to bound.
func (s *Server) Short(serverName string, groups, shares iter.Seq[uint16]) bool {
	return s.of.ClientAuth == nil && signsFast(s.of.Pick(serverName)) && agreesFast(groups, shares) &&
		!fips140.Enabled() // in which crypto/tls has other groups
}

// signsFast says that all certificates have keys with which to sign is fast.
func signsFast(certificates []*tls.Certificate) bool {
	for _, c := range certificates {
		switch key := c.PrivateKey.(type) {
		case *ecdsa.PrivateKey:
			if key.Curve != elliptic.P256() {
				return false
			}
		case ed25519.PrivateKey:
		default:
			return false
		}
	}
	return true
}

// group is what a server agrees on a key by.
type group struct {
	id      tls.CurveID
	quantum bool // of post-quantum security
	fast    bool
}

// preference is all groups, in the order in which crypto/tls prefers them (Go 1.26).
var preference = [...]group{
	{tls.X25519MLKEM768, true, true},
	{tls.SecP256r1MLKEM768, true, false},
	{tls.SecP384r1MLKEM1024, true, false},
	{tls.X25519, false, true},
	{tls.CurveP256, false, true},
	{tls.CurveP384, false, false},
	{tls.CurveP521, false, false},
}

// curvePreferences are these as crypto/tls wants them: it has no others then.
func curvePreferences() (all []tls.CurveID) {
	for _, g := range preference {
		all = append(all, g.id)
	}
	return all
}

// preferred is where a group stands there; -1: it is none of them.
func preferred(id uint16) int {
	for i := range preference {
		if preference[i].id == tls.CurveID(id) {
			return i
		}
	}
	return -1
}

// agreesFast says that whatever crypto/tls may choose is fast. In TLS 1.3 it takes a group of
// post-quantum security if there is one in common (unless GODEBUG forbids these), else another; of either
// kind one of which the client has sent its part, if there is one, and of these the one that it
// prefers. In TLS 1.2, which knows the other kind only, it takes the client's first.
func agreesFast(groups, shares iter.Seq[uint16]) bool {
	var shared [len(preference)]bool
	for id := range shares {
		if i := preferred(id); i >= 0 {
			shared[i] = true
		}
	}
	const none = 2 * len(preference)
	first, other, quantum := none, none, none // the client's first, and the best of either kind
	for id := range groups {
		i := preferred(id)
		if i < 0 {
			continue
		}
		rank := i
		if !shared[i] {
			rank += len(preference)
		}
		if preference[i].quantum {
			quantum = min(quantum, rank)
			continue
		}
		other = min(other, rank)
		if first == none {
			first = i
		}
	}
	for _, rank := range [...]int{first, other, quantum} {
		if rank != none && !preference[rank%len(preference)].fast {
			return false
		}
	}
	return other != none || quantum != none
}
