package message

import "encoding/binary"

// FieldID is a small number for a well-known field name; 0 is any other name.
type FieldID uint8

// The well-known field names. Those up to FieldUpgrade decide framing and
// persistence, those up to FieldProxyAuthorization belong to one hop; the
// order of the others means nothing.
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

	fieldEnd
)

// Unnumbered is the id of every name that is not well known.
const Unnumbered FieldID = 0

// fieldNames holds the lower-case name of each id. Letters, digits and "-"
// only: equalName depends on it.
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
}

const (
	// fieldMultiplier was found by trial: it sends the well-known names to
	// slots of their own, which a test checks. When a name is added and
	// collides, the test says how to find the next.
	fieldMultiplier = 0x92d2d1f3
	fieldSlotBits   = 9
	maxFieldName    = 32 // of the well-known ones
)

// fieldSlots is the perfect hash table of fieldNames.
var fieldSlots = fillFieldSlots(fieldMultiplier)

func fillFieldSlots(multiplier uint32) (slots [1 << fieldSlotBits]FieldID) {
	for id := FieldID(1); id < fieldEnd; id++ {
		name := fieldNames[id]
		slots[fieldSlot([]byte(name), multiplier)] = id
	}
	return slots
}

// fieldSlot hashes three characters and the length of a name of two or more.
func fieldSlot(name []byte, multiplier uint32) uint32 {
	n := len(name)
	key := uint32(name[0]) | uint32(name[n/2])<<8 | uint32(name[n-2])<<16 | 0x202020 | uint32(n)<<24
	return key * multiplier >> (32 - fieldSlotBits)
}

// LookupField returns the id of name, whatever its case; 0 when it has none.
func LookupField(name []byte) FieldID {
	if len(name) < 2 || len(name) > maxFieldName {
		return 0
	}
	id := fieldSlots[fieldSlot(name, fieldMultiplier)]
	known := fieldNames[id]
	if len(known) != len(name) || !equalName(name, known) {
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
	}
	return id >= FieldKeepAlive && id <= FieldProxyAuthorization
}

// equalName compares, ignoring case, with a name of the same length made of
// lower-case letters, digits and "-". Only where the known byte is a letter
// (bit 6 is set) may bit 5 differ.
func equalName(name []byte, known string) bool {
	const letter = 0x4040404040404040
	n := len(known)
	if len(name) != n {
		return false
	}
	if n < 8 {
		for i := 0; i < n; i++ {
			k := known[i]
			if name[i]|k&0x40>>1 != k {
				return false
			}
		}
		return true
	}
	for i := 0; ; i += 8 {
		if i+8 > n {
			if i == n {
				return true
			}
			i = n - 8
		}
		k := load64(known, i)
		if binary.LittleEndian.Uint64(name[i:])|k&letter>>1 != k {
			return false
		}
	}
}

// load64 reads eight bytes of a string; the compiler makes it one load.
func load64(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
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
