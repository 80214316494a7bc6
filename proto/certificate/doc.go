// Package certificate reads certificate chains and their keys, and says what is
// wrong with them. It is what resources are checked with, and what nodes make
// their TLS configuration of: both by the same function.
//
// # Rules
//
// A chain is 1 to MaxChain certificates in PEM: the server's own first, then each
// one's issuer, whose signature is checked. Other text around the certificates is
// let be, but for private keys, which a chain must not hold: chains are shown.
//
// A key is one private key in PEM, as PKCS #8, PKCS #1 or SEC 1, not encrypted:
// RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519. It is the
// one of the first certificate.
//
// Who trusts a chain, and whether it is in force now, is not judged here: the
// package has no clock and no roots.
//
// # Secrecy
//
// No Fault holds a byte of a key, whatever was given. A key is named by its
// fingerprint: the SHA-256 of its public half, as
//
//	openssl pkey -in key.pem -pubout -outform DER | sha256sum
//
// tells it too.
package certificate
