package message

import "encoding/binary"

// FieldID is a small number for a well-known field name; 0 is any other name.
type FieldID uint8

// The well-known field names. Those up to FieldKeepAlive decide framing and
// persistence, those up to FieldProxyAuthorization belong to one hop, but for
// FieldTrailer; the order of the others means nothing.
const (
	FieldHost FieldID = iota + 1
	FieldConnection
	FieldContentLength
	FieldTransferEncoding
	FieldExpect
	FieldUpgrade
	FieldKeepAlive
	FieldProxyConnection
	FieldTE
	FieldTrailer
	FieldHTTP2Settings
	FieldProxyAuthenticate
	FieldProxyAuthorization
	FieldXForwardedFor
	FieldXForwardedProto
	FieldXForwardedHost
	FieldXForwardedPort
	FieldXRealIP
	FieldForwarded
	FieldVia
	FieldTraceparent
	FieldTracestate
	FieldBaggage
	FieldXRequestID
	FieldCookie
	FieldSetCookie
	FieldAuthorization
	FieldWWWAuthenticate
	FieldAccept
	FieldAcceptEncoding
	FieldAcceptLanguage
	FieldAcceptRanges
	FieldAge
	FieldAllow
	FieldAltSvc
	FieldCacheControl
	FieldContentDisposition
	FieldContentEncoding
	FieldContentLanguage
	FieldContentRange
	FieldContentSecurityPolicy
	FieldContentType
	FieldDate
	FieldDNT
	FieldETag
	FieldExpires
	FieldIfMatch
	FieldIfModifiedSince
	FieldIfNoneMatch
	FieldIfRange
	FieldIfUnmodifiedSince
	FieldLastModified
	FieldLink
	FieldLocation
	FieldOrigin
	FieldPragma
	FieldPriority
	FieldRange
	FieldReferer
	FieldRetryAfter
	FieldServer
	FieldStrictTransportSecurity
	FieldUpgradeInsecureRequests
	FieldUserAgent
	FieldVary
	FieldXContentTypeOptions
	FieldXFrameOptions
	FieldXRequestedWith
	FieldXXSSProtection
	FieldSecCHUA
	FieldSecCHUAMobile
	FieldSecCHUAPlatform
	FieldSecFetchDest
	FieldSecFetchMode
	FieldSecFetchSite
	FieldSecFetchUser
	FieldSecWebSocketAccept
	FieldSecWebSocketExtensions
	FieldSecWebSocketKey
	FieldSecWebSocketProtocol
	FieldSecWebSocketVersion
	FieldAccessControlAllowCredentials
	FieldAccessControlAllowHeaders
	FieldAccessControlAllowMethods
	FieldAccessControlAllowOrigin
	FieldAccessControlExposeHeaders
	FieldAccessControlMaxAge
	FieldAccessControlRequestHeaders
	FieldAccessControlRequestMethod
	FieldEarlyData
	FieldWarning
	FieldClientCert
	FieldClientCertChain

	fieldEnd
)

// Unnumbered is the id of every name that is not well known.
const Unnumbered FieldID = 0

// fieldNames holds the lower-case name of each id. Letters, digits and "-"
// only: fieldKey.matches depends on it.
var fieldNames = [fieldEnd]string{
	FieldHost:                          "host",
	FieldConnection:                    "connection",
	FieldContentLength:                 "content-length",
	FieldTransferEncoding:              "transfer-encoding",
	FieldExpect:                        "expect",
	FieldUpgrade:                       "upgrade",
	FieldKeepAlive:                     "keep-alive",
	FieldProxyConnection:               "proxy-connection",
	FieldTE:                            "te",
	FieldTrailer:                       "trailer",
	FieldHTTP2Settings:                 "http2-settings",
	FieldProxyAuthenticate:             "proxy-authenticate",
	FieldProxyAuthorization:            "proxy-authorization",
	FieldXForwardedFor:                 "x-forwarded-for",
	FieldXForwardedProto:               "x-forwarded-proto",
	FieldXForwardedHost:                "x-forwarded-host",
	FieldXForwardedPort:                "x-forwarded-port",
	FieldXRealIP:                       "x-real-ip",
	FieldForwarded:                     "forwarded",
	FieldVia:                           "via",
	FieldTraceparent:                   "traceparent",
	FieldTracestate:                    "tracestate",
	FieldBaggage:                       "baggage",
	FieldXRequestID:                    "x-request-id",
	FieldCookie:                        "cookie",
	FieldSetCookie:                     "set-cookie",
	FieldAuthorization:                 "authorization",
	FieldWWWAuthenticate:               "www-authenticate",
	FieldAccept:                        "accept",
	FieldAcceptEncoding:                "accept-encoding",
	FieldAcceptLanguage:                "accept-language",
	FieldAcceptRanges:                  "accept-ranges",
	FieldAge:                           "age",
	FieldAllow:                         "allow",
	FieldAltSvc:                        "alt-svc",
	FieldCacheControl:                  "cache-control",
	FieldContentDisposition:            "content-disposition",
	FieldContentEncoding:               "content-encoding",
	FieldContentLanguage:               "content-language",
	FieldContentRange:                  "content-range",
	FieldContentSecurityPolicy:         "content-security-policy",
	FieldContentType:                   "content-type",
	FieldDate:                          "date",
	FieldDNT:                           "dnt",
	FieldETag:                          "etag",
	FieldExpires:                       "expires",
	FieldIfMatch:                       "if-match",
	FieldIfModifiedSince:               "if-modified-since",
	FieldIfNoneMatch:                   "if-none-match",
	FieldIfRange:                       "if-range",
	FieldIfUnmodifiedSince:             "if-unmodified-since",
	FieldLastModified:                  "last-modified",
	FieldLink:                          "link",
	FieldLocation:                      "location",
	FieldOrigin:                        "origin",
	FieldPragma:                        "pragma",
	FieldPriority:                      "priority",
	FieldRange:                         "range",
	FieldReferer:                       "referer",
	FieldRetryAfter:                    "retry-after",
	FieldServer:                        "server",
	FieldStrictTransportSecurity:       "strict-transport-security",
	FieldUpgradeInsecureRequests:       "upgrade-insecure-requests",
	FieldUserAgent:                     "user-agent",
	FieldVary:                          "vary",
	FieldXContentTypeOptions:           "x-content-type-options",
	FieldXFrameOptions:                 "x-frame-options",
	FieldXRequestedWith:                "x-requested-with",
	FieldXXSSProtection:                "x-xss-protection",
	FieldSecCHUA:                       "sec-ch-ua",
	FieldSecCHUAMobile:                 "sec-ch-ua-mobile",
	FieldSecCHUAPlatform:               "sec-ch-ua-platform",
	FieldSecFetchDest:                  "sec-fetch-dest",
	FieldSecFetchMode:                  "sec-fetch-mode",
	FieldSecFetchSite:                  "sec-fetch-site",
	FieldSecFetchUser:                  "sec-fetch-user",
	FieldSecWebSocketAccept:            "sec-websocket-accept",
	FieldSecWebSocketExtensions:        "sec-websocket-extensions",
	FieldSecWebSocketKey:               "sec-websocket-key",
	FieldSecWebSocketProtocol:          "sec-websocket-protocol",
	FieldSecWebSocketVersion:           "sec-websocket-version",
	FieldAccessControlAllowCredentials: "access-control-allow-credentials",
	FieldAccessControlAllowHeaders:     "access-control-allow-headers",
	FieldAccessControlAllowMethods:     "access-control-allow-methods",
	FieldAccessControlAllowOrigin:      "access-control-allow-origin",
	FieldAccessControlExposeHeaders:    "access-control-expose-headers",
	FieldAccessControlMaxAge:           "access-control-max-age",
	FieldAccessControlRequestHeaders:   "access-control-request-headers",
	FieldAccessControlRequestMethod:    "access-control-request-method",
	FieldEarlyData:                     "early-data",
	FieldWarning:                       "warning",
	FieldClientCert:                    "client-cert",
	FieldClientCertChain:               "client-cert-chain",
}

const (
	// fieldMultiplier was found by trial: it sends the well-known names to
	// slots of their own, which a test checks and says how to repair.
	fieldMultiplier = 0x87600c7dc45874fb
	fieldSlotBits   = 9
	maxFieldName    = 32 // of the well-known ones

	spaces  = 0x2020202020202020 // the bit that tells capitals from small letters
	letters = 0x4040404040404040 // set in letters, not in digits and "-"
)

// fieldKey is what two loads see of a name: all of it up to 16 bytes.
type fieldKey struct{ first, last uint64 }

// keyOf reads the key of a name of two bytes or more.
func keyOf(name []byte) (k fieldKey) {
	n := len(name)
	switch {
	case n >= 8:
		k.first = binary.LittleEndian.Uint64(name)
		k.last = binary.LittleEndian.Uint64(name[n-8:])
	case n >= 4:
		k.first = uint64(binary.LittleEndian.Uint32(name)) | uint64(binary.LittleEndian.Uint32(name[n-4:]))<<32
	default:
		k.first = uint64(name[0]) | uint64(name[1])<<8 | uint64(name[n-1])<<16
	}
	return k
}

// slot hashes a key, whatever its case, to a place in fieldSlots.
func (k fieldKey) slot(length int, multiplier uint64) uint64 {
	return ((k.first | spaces) + (k.last|spaces)*2 + uint64(length)) * multiplier >> (64 - fieldSlotBits)
}

// matches compares with the key of a well-known name. Only where its byte is a
// letter may the case differ.
func (k fieldKey) matches(known fieldKey) bool {
	return k.first|known.first&letters>>1 == known.first && k.last|known.last&letters>>1 == known.last
}

// The perfect hash table of fieldNames: a name's slot holds its id, and the
// key of that id must match.
var (
	fieldSlots = fillFieldSlots(fieldMultiplier)
	fieldKeys  = fillFieldKeys()
)

func fillFieldSlots(multiplier uint64) (slots [1 << fieldSlotBits]FieldID) {
	for id := FieldID(1); id < fieldEnd; id++ {
		name := []byte(fieldNames[id])
		slots[keyOf(name).slot(len(name), multiplier)] = id
	}
	return slots
}

func fillFieldKeys() (keys [fieldEnd]fieldKey) {
	for id := FieldID(1); id < fieldEnd; id++ {
		keys[id] = keyOf([]byte(fieldNames[id]))
	}
	return keys
}

// LookupField returns the id of name, whatever its case; 0 when it has none.
func LookupField(name []byte) FieldID {
	n := len(name)
	if n < 2 || n > maxFieldName {
		return 0
	}
	k := keyOf(name)
	id := fieldSlots[k.slot(n, fieldMultiplier)]
	if !k.matches(fieldKeys[id]) || len(fieldNames[id]) != n {
		return 0
	}
	if n > 16 && !EqualFold(name[8:n-8], fieldNames[id][8:n-8]) {
		return 0
	}
	return id
}

// String returns the lower-case name, and "" for 0.
func (id FieldID) String() string {
	if id >= fieldEnd {
		return ""
	}
	return fieldNames[id]
}

// HopByHop tells whether the field belongs to one connection and is never
// forwarded (RFC 9110 section 7.6.1). Proxy-Authenticate and
// Proxy-Authorization are addressed to us, the next proxy on the way
// (sections 11.7.1 and 11.7.2).
func (id FieldID) HopByHop() bool {
	switch id {
	case FieldConnection, FieldTransferEncoding, FieldUpgrade:
		return true
	case FieldTrailer: // trailers are forwarded, and some receivers show those alone that were announced
		return false
	}
	return id >= FieldKeepAlive && id <= FieldProxyAuthorization
}

// Hearsay tells whether the field says where a request came from, or who asks: that counts
// from a trusted proxy alone, and is not there when anybody else says it.
func (id FieldID) Hearsay() bool {
	switch id {
	case FieldXForwardedFor, FieldXForwardedProto, FieldXForwardedHost, FieldXForwardedPort, FieldForwarded, FieldXRealIP,
		FieldXRequestID, FieldClientCert, FieldClientCertChain: // RFC 9440 section 2.4
		return true
	}
	return false
}

// forwardedPrefix begins the names of fields in which a proxy says what those behind it cannot
// see.
const forwardedPrefix = "x-forwarded-"

// Forwarded tells whether a name is one of X-Forwarded-*, which are all hearsay: frameworks and
// meshes go by many, such as X-Forwarded-Prefix and X-Forwarded-Client-Cert. It may have "_" for
// "-", as CGI reads it (RFC 3875 section 4.1.18).
func Forwarded[T string | []byte](name T) bool {
	if len(name) < len(forwardedPrefix) {
		return false
	}
	for i := range len(forwardedPrefix) {
		c := lowerTable[name[i]]
		if c == '_' {
			c = '-'
		}
		if c != forwardedPrefix[i] {
			return false
		}
	}
	return true
}

// LookupDashed is LookupField where "_" stands for "-": to CGI, and to what is made like it (WSGI,
// Rack, PHP), both are one (RFC 3875 section 4.1.18), and Client_Cert is Client-Cert.
func LookupDashed[T string | []byte](name T) FieldID {
	var dashed [maxFieldName]byte
	if len(name) > len(dashed) {
		return 0
	}
	for i := range len(name) {
		if dashed[i] = name[i]; dashed[i] == '_' {
			dashed[i] = '-'
		}
	}
	return LookupField(dashed[:len(name)])
}

// EqualFold compares a with lower, which must be in lower case, ignoring the
// case of ASCII letters in a.
func EqualFold(a []byte, lower string) bool {
	if len(a) != len(lower) {
		return false
	}
	for i, c := range a {
		if lowerTable[c] != lower[i] {
			return false
		}
	}
	return true
}

// EqualFoldBytes compares two byte strings, ignoring the case of ASCII letters.
func EqualFoldBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lowerTable[c] != lowerTable[b[i]] {
			return false
		}
	}
	return true
}
