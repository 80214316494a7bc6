package message

// Method is a small number for a well-known method; 0 is any other.
type Method uint8

// The methods of RFC 9110 section 9.3, and PATCH of RFC 5789.
const (
	MethodOther Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodConnect
	MethodOptions
	MethodTrace
	MethodPatch

	methodEnd
)

var methodNames = [methodEnd]string{
	MethodGet:     "GET",
	MethodHead:    "HEAD",
	MethodPost:    "POST",
	MethodPut:     "PUT",
	MethodDelete:  "DELETE",
	MethodConnect: "CONNECT",
	MethodOptions: "OPTIONS",
	MethodTrace:   "TRACE",
	MethodPatch:   "PATCH",
}

// LookupMethod returns the number of a method. Methods are case-sensitive
// (RFC 9110 section 9.1): "get" is MethodOther.
func LookupMethod(name []byte) Method {
	switch string(name) {
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	case "PUT":
		return MethodPut
	case "DELETE":
		return MethodDelete
	case "CONNECT":
		return MethodConnect
	case "OPTIONS":
		return MethodOptions
	case "TRACE":
		return MethodTrace
	case "PATCH":
		return MethodPatch
	}
	return MethodOther
}

// String returns the method's name, and "OTHER" for MethodOther.
func (m Method) String() string {
	if m == MethodOther || m >= methodEnd {
		return "OTHER"
	}
	return methodNames[m]
}

// Idempotent tells whether repeating a request of this method has the effect
// of sending it once (RFC 9110 section 9.2.2). An unknown method is not.
func (m Method) Idempotent() bool {
	switch m {
	case MethodGet, MethodHead, MethodPut, MethodDelete, MethodOptions, MethodTrace:
		return true
	}
	return false
}
