// Package hpack is the field compression of HTTP/2 (RFC 7541) without
// allocation: a Decoder appends names and values to an arena of its caller and
// returns spans, Append functions encode. docs/adr/0008 says why it is not
// golang.org/x/net/http2/hpack, against which it is fuzzed.
//
// The decoder keeps a dynamic table, since its peer decides what goes into it.
// The encoder has none: it uses the static table and literals, as HAProxy does,
// so it has no state, and compressing costs less than looking up what is worth
// keeping. It opens its connection with a size update to 0 (see Opening), by
// which it agrees to every SETTINGS_HEADER_TABLE_SIZE there can be.
//
// The package is pure. Memory of a Decoder: nothing until the peer indexes a
// field, then at most twice the table size that Init allowed, and 16 bytes for
// each entry of at least 32 bytes.
package hpack
