// Package seal encrypts what is kept on disk or in etcd and must not be read
// there: AES-256-GCM under a key from a file.
//
// # What is sealed
//
// Seal binds the text to what it is about (the associated data): sealed bytes
// that are moved to another place, or altered, are refused by Open. What it is
// about is not stored and need not be secret: the hash of a blob, the name of a
// file's format.
//
// # Nonces
//
// A nonce is 96 random bits, made anew for each Seal and put in front of the
// ciphertext. So a key must not seal more than 2^32 times (NIST SP 800-38D
// section 8.3): at a certificate a second that is 136 years.
//
// # The file
//
// 64 hexadecimal digits, as "openssl rand -hex 32" prints them, readable by its
// owner only; a file that others may read is refused. The key is known by its id,
// a hash of it that tells nothing of it.
package seal
