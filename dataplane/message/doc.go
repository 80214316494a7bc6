// Package message holds what an HTTP message is, whatever its version: a Head
// whose parts are spans of bytes that somebody else owns, an Out that is about
// to be encoded, and the one normal form of paths and hosts that matching,
// policies, logs and forwarding share.
//
// A codec (http1, http2) fills a Head and chooses its arena: HTTP/1.1
// uses the connection's read buffer, HTTP/2 a buffer of the stream. A Head is
// valid until the codec is asked for the next event or its arena moves;
// whoever needs a part for longer copies it.
//
// The package is pure: no I/O, no clock, no locks, and nothing here allocates
// once the slices that are passed in have grown.
package message
