package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

const (
	// MaxChain bounds a chain: every handshake sends it whole, and public ones
	// have two to four.
	MaxChain = 10
	// MinRSA bounds RSA keys in bits: less is refused by browsers (CA/B baseline
	// requirements section 6.1.5).
	MinRSA = 2048
	// MaxRSA bounds what a signature costs: at 8192 bits it takes tens of
	// milliseconds.
	MaxRSA = 8192
)

// Pair is a chain with its key. It must not be changed.
type Pair struct {
	Leaf  *x509.Certificate
	Chain [][]byte // DER, Leaf's first
	Key   crypto.Signer
}

// Fault is what is wrong with a chain or a key. It says nothing of a key but its
// kind.
type Fault struct {
	OfKey         bool // else of the chain
	Got, Expected string
}

// Error says both.
func (f *Fault) Error() string { return "got " + f.Got + ", expected " + f.Expected }

// Parse reads a chain and its key, and says everything that is wrong with them.
func Parse(chain, key string) (*Pair, []*Fault) {
	var faults []*Fault
	certificates, fault := ParseChain(chain)
	if fault != nil {
		faults = append(faults, fault)
	}
	signer, fault := ParseKey(key)
	if fault != nil {
		faults = append(faults, fault)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	if fault := match(certificates, signer); fault != nil {
		return nil, []*Fault{fault}
	}
	p := &Pair{Leaf: certificates[0], Key: signer}
	for _, c := range certificates {
		p.Chain = append(p.Chain, c.Raw)
	}
	return p, nil
}

const chainExpected = "certificates in PEM (-----BEGIN CERTIFICATE-----), the server's own first"

// ParseChain reads a chain.
func ParseChain(text string) ([]*x509.Certificate, *Fault) {
	if strings.Contains(text, "PRIVATE KEY") {
		return nil, &Fault{Got: "a private key", Expected: "certificates only: a chain is shown to everybody, the key has its own field"}
	}
	var chain []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		n := len(chain) + 1
		if n > MaxChain {
			return nil, &Fault{Got: fmt.Sprintf("more than %d certificates", MaxChain), Expected: fmt.Sprintf("at most %d: the server's own and its issuers, not a bundle of roots", MaxChain)}
		}
		if block.Type != "CERTIFICATE" {
			return nil, &Fault{Got: fmt.Sprintf("a PEM block of type %q", shortened(block.Type)), Expected: chainExpected}
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Fault{Got: fmt.Sprintf("a block %d that is no certificate: %v", n, err), Expected: chainExpected}
		}
		chain = append(chain, c)
	}
	// What pem.Decode cannot read it takes for text between blocks.
	if begins := strings.Count(text, "-----BEGIN "); begins != len(chain) {
		return nil, &Fault{Got: fmt.Sprintf("%d PEM blocks of which %d can be read", begins, len(chain)), Expected: chainExpected}
	}
	if len(chain) == 0 {
		return nil, &Fault{Got: "no certificate", Expected: chainExpected}
	}
	if !supported(chain[0].PublicKey) {
		return nil, &Fault{Got: "a certificate of " + KeyType(chain[0].PublicKey), Expected: "one of " + keyTypes}
	}
	return chain, order(chain)
}

// order holds each certificate against the one after it.
func order(chain []*x509.Certificate) *Fault {
	for i := range len(chain) - 1 {
		err := chain[i].CheckSignatureFrom(chain[i+1])
		if err == nil {
			continue
		}
		got := fmt.Sprintf("certificate %d (%s) after %s, which it did not issue", i+2, name(chain[i+1]), name(chain[i]))
		if string(chain[i].RawIssuer) == string(chain[i+1].RawSubject) {
			got += ": " + err.Error()
		}
		return &Fault{Got: got, Expected: fmt.Sprintf("the issuer, %s: the server's certificate first, then each one's issuer", shortened(chain[i].Issuer.String()))}
	}
	return nil
}

const (
	keyTypes    = "RSA of 2048 to 8192 bits, ECDSA (P-256, P-384, P-521), Ed25519"
	keyExpected = "one private key in PEM, not encrypted: " + keyTypes
)

// ParseKey reads a key.
func ParseKey(text string) (crypto.Signer, *Fault) {
	refuse := func(got string) (crypto.Signer, *Fault) {
		return nil, &Fault{OfKey: true, Got: got, Expected: keyExpected}
	}
	var key crypto.Signer
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		switch {
		case block.Type == "EC PARAMETERS": // openssl ecparam -genkey writes them before the key
			continue
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, &Fault{OfKey: true, Got: "an encrypted private key", Expected: "one that is not (openssl pkey -in FILE prints it): it is sealed where it is kept"}
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return refuse(fmt.Sprintf("a PEM block of type %q", shortened(block.Type)))
		case key != nil:
			return refuse("more than one private key")
		}
		var ok bool
		if key, ok = parseKey(block); !ok {
			return refuse("a private key that cannot be read")
		}
	}
	switch {
	case key == nil && strings.Contains(text, "-----BEGIN "):
		return refuse("a PEM block that cannot be read")
	case key == nil:
		return refuse("no private key")
	case !supported(key.Public()):
		return refuse("a key of " + KeyType(key.Public()))
	}
	return key, nil
}

// parseKey reads one block. Its errors are not for people to see.
func parseKey(block *pem.Block) (crypto.Signer, bool) {
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	signer, ok := key.(crypto.Signer)
	return signer, ok && err == nil
}

// match holds the key against the first certificate.
func match(chain []*x509.Certificate, key crypto.Signer) *Fault {
	public := key.Public()
	for i, c := range chain {
		of, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		switch {
		case !ok || !of.Equal(public):
		case i == 0:
			return nil
		default:
			return &Fault{Got: fmt.Sprintf("a chain whose certificate %d has this key", i+1), Expected: "the certificate of the key first, then each one's issuer"}
		}
	}
	return &Fault{OfKey: true, Got: "a key with the fingerprint " + KeyFingerprint(public), Expected: fmt.Sprintf("the key of the first certificate (%s), whose fingerprint is %s", name(chain[0]), KeyFingerprint(chain[0].PublicKey))}
}

func supported(key crypto.PublicKey) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= MinRSA && k.N.BitLen() <= MaxRSA
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize >= 256
	case ed25519.PublicKey:
		return true
	}
	return false
}
