// Package clienthello reads the name and the protocols that a TLS client asks for
// out of its first bytes, without TLS: for listeners that pass connections on by
// SNI and never see a key. It is pure: bytes in, a Hello out.
//
// Peek may be called again with more bytes as they come. Its result is a function
// of the bytes alone, however they are cut. A ClientHello may come in several
// records (RFC 8446 section 5.1); it and its records are bounded by MaxBytes and
// maxRecords, so a peer that sends byte by byte costs no more than its packets do.
//
// Doubt is a refusal: a hello that two readers could understand differently could
// pass here under one name and be served under another.
package clienthello
