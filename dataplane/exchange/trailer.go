package exchange

import "github.com/proxyfleet/proxyfleet/dataplane/message"

// This file decides which trailers pass. A receiver may merge them into the head
// (RFC 9110 section 6.5.1), so what a head may not say a trailer may not say
// either.

// TrailerGoesUp says whether a trailer of the request is forwarded. What we write
// about where a request came from is ours alone there, whoever the peer is: a
// trusted proxy says it in the head.
func (x *Exchange) TrailerGoesUp(name []byte, id message.FieldID) bool {
	return !dropsUp(id, false) && !headAlone(id) && !readsAsOurs(name) && !x.requestOps.Drops(name, id) && !x.head.NamedByConnection(name)
}

// TrailerGoesDown says whether a trailer of the answer is forwarded.
func (x *Exchange) TrailerGoesDown(name []byte, id message.FieldID) bool {
	return !dropsDown(id) && !headAlone(id) && !x.responseOps.Drops(name, id) && !message.NamedBy(x.local.options, name)
}

// headAlone says which fields mean something in a head only, since they decide what
// is done with the content (RFC 9110 section 6.5.1): who asks, where to, on what
// condition, and what the content is. Those of framing and of the hop are dropped by
// dropsUp and dropsDown.
func headAlone(id message.FieldID) bool {
	switch id {
	case message.FieldHost, message.FieldExpect, message.FieldTrailer,
		message.FieldAuthorization, message.FieldCookie, message.FieldSetCookie, message.FieldWWWAuthenticate,
		message.FieldCacheControl, message.FieldPragma, message.FieldRange, message.FieldVary, message.FieldLocation,
		message.FieldIfMatch, message.FieldIfNoneMatch, message.FieldIfModifiedSince, message.FieldIfUnmodifiedSince, message.FieldIfRange,
		message.FieldContentEncoding, message.FieldContentType, message.FieldContentRange:
		return true
	}
	return false
}
