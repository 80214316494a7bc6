// Package proxyproto reads and writes the header of the PROXY protocol, versions
// 1 and 2, by which a proxy tells the server behind it who the client is (HAProxy's
// proxy-protocol.txt, the "specification" of the comments). It is pure: bytes in,
// a Header and a length out; no sockets and no clocks. Version 2 is read without
// allocation, version 1 with a short string for each of its addresses.
//
// A header stands once, before everything else on a connection. Whoever may
// connect may claim anything in it, so its reader must know the peer before it
// believes one.
//
// Parse may be called again with more bytes as they come. Its result is a
// function of the bytes alone, however they are cut, and it never looks at more
// than MaxBytes.
package proxyproto
