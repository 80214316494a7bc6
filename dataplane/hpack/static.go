package hpack

import "github.com/proxyfleet/proxyfleet/dataplane/message"

// The indexes of the static table that an encoder names (RFC 7541 appendix A).
const (
	IndexAuthority   = 1
	IndexMethod      = 2 // with the value GET
	IndexMethodPost  = 3
	IndexPath        = 4 // with the value /
	IndexSchemeHTTP  = 6
	IndexSchemeHTTPS = 7
	IndexStatus      = 8 // with the value 200

	staticCookie = 32
	staticEnd    = 62
)

type staticEntry struct{ name, value string }

// staticTable is appendix A of RFC 7541; index 0 is not used.
var staticTable = [staticEnd]staticEntry{
	1:  {":authority", ""},
	2:  {":method", "GET"},
	3:  {":method", "POST"},
	4:  {":path", "/"},
	5:  {":path", "/index.html"},
	6:  {":scheme", "http"},
	7:  {":scheme", "https"},
	8:  {":status", "200"},
	9:  {":status", "204"},
	10: {":status", "206"},
	11: {":status", "304"},
	12: {":status", "400"},
	13: {":status", "404"},
	14: {":status", "500"},
	15: {"accept-charset", ""},
	16: {"accept-encoding", "gzip, deflate"},
	17: {"accept-language", ""},
	18: {"accept-ranges", ""},
	19: {"accept", ""},
	20: {"access-control-allow-origin", ""},
	21: {"age", ""},
	22: {"allow", ""},
	23: {"authorization", ""},
	24: {"cache-control", ""},
	25: {"content-disposition", ""},
	26: {"content-encoding", ""},
	27: {"content-language", ""},
	28: {"content-length", ""},
	29: {"content-location", ""},
	30: {"content-range", ""},
	31: {"content-type", ""},
	32: {"cookie", ""},
	33: {"date", ""},
	34: {"etag", ""},
	35: {"expect", ""},
	36: {"expires", ""},
	37: {"from", ""},
	38: {"host", ""},
	39: {"if-match", ""},
	40: {"if-modified-since", ""},
	41: {"if-none-match", ""},
	42: {"if-range", ""},
	43: {"if-unmodified-since", ""},
	44: {"last-modified", ""},
	45: {"link", ""},
	46: {"location", ""},
	47: {"max-forwards", ""},
	48: {"proxy-authenticate", ""},
	49: {"proxy-authorization", ""},
	50: {"range", ""},
	51: {"referer", ""},
	52: {"refresh", ""},
	53: {"retry-after", ""},
	54: {"server", ""},
	55: {"set-cookie", ""},
	56: {"strict-transport-security", ""},
	57: {"transfer-encoding", ""},
	58: {"user-agent", ""},
	59: {"vary", ""},
	60: {"via", ""},
	61: {"www-authenticate", ""},
}

// staticIDs has the well-known names of the static table.
var staticIDs = func() (ids [staticEnd]message.FieldID) {
	for i := range staticTable {
		ids[i] = message.LookupField([]byte(staticTable[i].name))
	}
	return ids
}()

// staticNames is the other way: the first index that has a well-known name, 0
// where there is none.
var staticNames = func() (indexes [256]uint8) {
	for i := staticEnd - 1; i > 0; i-- {
		if id := staticIDs[i]; id != message.Unnumbered {
			indexes[id] = uint8(i)
		}
	}
	return indexes
}()

// statusIndex is the static entry of a whole status field, 0 for most.
func statusIndex(status uint16) uint32 {
	switch status {
	case 200:
		return 8
	case 204:
		return 9
	case 206:
		return 10
	case 304:
		return 11
	case 400:
		return 12
	case 404:
		return 13
	case 500:
		return 14
	}
	return 0
}
