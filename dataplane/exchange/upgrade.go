package exchange

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 asks for it; nothing secret depends on it
	"encoding/base64"
	"encoding/binary"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// This file translates between the two ways to ask for another protocol: Upgrade
// and 101 in HTTP/1.1 (RFC 9110 section 7.8), and CONNECT with :protocol and 2xx in
// HTTP/2 (RFC 8441). An exchange has one way on each side. The key of a WebSocket
// and what is made of it exist in HTTP/1.1 only (RFC 8441 section 5.1), so where the
// ways differ we are the end of that.

const (
	websocket = "websocket"
	// acceptGUID is appended to a key (RFC 6455 section 1.3).
	acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	// keyLen and acceptLen are the lengths of 16 and of 20 bytes in base64.
	keyLen    = 24
	acceptLen = 28
)

var (
	methodGet     = []byte("GET")
	methodConnect = []byte("CONNECT")
	nameKey       = []byte("sec-websocket-key")
	nameAccept    = []byte("sec-websocket-accept")
)

// extended says that the client asked by an extended CONNECT.
func (x *Exchange) extended() bool { return x.head.Protocol.Len() > 0 }

// clientKey is the key of a client that asks for a WebSocket in HTTP/1.1; ok: it is
// one.
func (x *Exchange) clientKey() (key []byte, ok bool) {
	key, _ = x.head.Value(message.FieldSecWebSocketKey)
	var raw [keyLen]byte
	n, err := base64.StdEncoding.Decode(raw[:], key[:min(len(key), keyLen)])
	return key, err == nil && n == 16 && len(key) == keyLen
}

// lacksKey says that a client asks for a WebSocket in HTTP/1.1, and has no key.
func (x *Exchange) lacksKey() bool {
	if x.extended() || !x.asksWebSocket() {
		return false
	}
	_, ok := x.clientKey()
	return !ok
}

// asksWebSocket says that the protocol that is sought is WebSocket.
func (x *Exchange) asksWebSocket() bool { return message.EqualFold(x.protocol, websocket) }

// appendAccept appends what proves that a key was read (RFC 6455 section 4.2.2).
func appendAccept(dst, key []byte) []byte {
	var text [keyLen + len(acceptGUID)]byte
	copy(text[copy(text[:], key):], acceptGUID)
	sum := sha1.Sum(text[:]) //nolint:gosec // as above
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// addUpgrade completes a request that asks for another protocol, for an endpoint of
// either version.
func (x *Exchange) addUpgrade(env *Env, out *message.Out) {
	switch {
	case x.upstream.HTTP2:
		out.Method, out.Protocol = methodConnect, x.protocol
		out.Framing, out.Length = message.FramingNone, 0 // what follows is the tunnel's, whatever an empty body was declared as
		return
	case x.extended() && x.asksWebSocket():
		var raw [16]byte
		binary.LittleEndian.PutUint64(raw[:], env.Random.Uint64())
		binary.LittleEndian.PutUint64(raw[8:], env.Random.Uint64())
		base64.StdEncoding.Encode(x.local.socketKey[:], raw[:])
		out.Add(nameKey, x.local.socketKey[:])
	}
	out.Upgrade = true
	out.Add(nameUpgrade, x.protocol)
}

// dropsKey says that a field is about the key, and is not passed on as it is.
func (x *Exchange) dropsKey(id message.FieldID) bool {
	return (id == message.FieldSecWebSocketKey || id == message.FieldSecWebSocketAccept) && x.tunnel == tunnelUpgrade &&
		(x.extended() || x.viaHTTP2)
}

// switched completes an answer that agrees, for a client of either version.
func (x *Exchange) switched(env *Env, out *message.Out) {
	if x.extended() {
		out.Status, out.Close = 200, false
		return
	}
	out.Status, out.Upgrade, out.Close = 101, true, false
	out.Add(nameUpgrade, x.protocol)
	if key, ok := x.clientKey(); ok && x.viaHTTP2 && x.asksWebSocket() {
		start := len(env.scratch)
		env.scratch = appendAccept(env.scratch, key)
		out.Add(nameAccept, env.scratch[start:])
	}
}

// agrees tells whether the head of an answer switches to the protocol that was
// asked for; problem says what is wrong with one that pretends to.
func (x *Exchange) agrees(h *message.Head) (yes bool, problem string) {
	switch {
	case x.viaHTTP2:
		return x.tunnel == tunnelUpgrade && h.Status >= 200 && h.Status < 300, ""
	case h.Status != 101:
		return false, ""
	case !x.agreed(h):
		return false, "unasked_upgrade"
	case x.extended() && x.asksWebSocket():
		var want [acceptLen]byte
		got, _ := h.Value(message.FieldSecWebSocketAccept)
		if string(got) != string(appendAccept(want[:0], x.local.socketKey[:])) {
			return false, "websocket_accept"
		}
	}
	return true, ""
}
