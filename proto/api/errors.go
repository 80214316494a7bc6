package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// ErrorType tells errors apart for programs. It is a URI (RFC 9457 section
// 3.1.1) that leads nowhere.
type ErrorType string

// The types of errors, with the status that each comes with.
const (
	TypeMalformed   ErrorType = "urn:proxyfleet:problem:malformed"
	TypeForbidden   ErrorType = "urn:proxyfleet:problem:forbidden"
	TypeNotFound    ErrorType = "urn:proxyfleet:problem:not-found"
	TypeMethod      ErrorType = "urn:proxyfleet:problem:method-not-allowed"
	TypeAcceptable  ErrorType = "urn:proxyfleet:problem:not-acceptable"
	TypeReferenced  ErrorType = "urn:proxyfleet:problem:referenced"
	TypeShrinks     ErrorType = "urn:proxyfleet:problem:shrinks"
	TypeConflict    ErrorType = "urn:proxyfleet:problem:conflict"
	TypeGone        ErrorType = "urn:proxyfleet:problem:gone"
	TypeStale       ErrorType = "urn:proxyfleet:problem:stale"
	TypeExists      ErrorType = "urn:proxyfleet:problem:exists"
	TypeTooLarge    ErrorType = "urn:proxyfleet:problem:too-large"
	TypeMediaType   ErrorType = "urn:proxyfleet:problem:media-type"
	TypeInvalid     ErrorType = "urn:proxyfleet:problem:invalid"
	TypeInternal    ErrorType = "urn:proxyfleet:problem:internal"
	TypeUnavailable ErrorType = "urn:proxyfleet:problem:unavailable"
	TypeTimeout     ErrorType = "urn:proxyfleet:problem:timeout"
)

// ErrorTypes lists all types.
func ErrorTypes() []ErrorType {
	return []ErrorType{
		TypeMalformed, TypeForbidden, TypeNotFound, TypeMethod, TypeAcceptable,
		TypeReferenced, TypeShrinks, TypeConflict, TypeGone, TypeStale, TypeExists,
		TypeTooLarge, TypeMediaType, TypeInvalid, TypeInternal, TypeUnavailable, TypeTimeout,
	}
}

// Status is the HTTP status that the type comes with; 500 for unknown ones.
func (t ErrorType) Status() int { return t.describe().status }

// Title is a short sentence about the type, the same for every occurrence.
func (t ErrorType) Title() string { return t.describe().title }

type description struct {
	status int
	title  string
}

func (t ErrorType) describe() description {
	switch t {
	case TypeMalformed:
		return description{http.StatusBadRequest, "The request cannot be read."}
	case TypeForbidden:
		return description{http.StatusForbidden, "The request comes from a foreign page or names a foreign host."}
	case TypeNotFound:
		return description{http.StatusNotFound, "There is no such thing."}
	case TypeMethod:
		return description{http.StatusMethodNotAllowed, "The path does not have this method."}
	case TypeAcceptable:
		return description{http.StatusNotAcceptable, "The answer exists in none of the accepted forms."}
	case TypeReferenced:
		return description{http.StatusConflict, "Other resources refer to it."}
	case TypeShrinks:
		return description{http.StatusConflict, "The change removes more than half of the configuration."}
	case TypeConflict:
		return description{http.StatusConflict, "Other changes kept winning."}
	case TypeGone:
		return description{http.StatusGone, "The revision is no longer kept."}
	case TypeStale:
		return description{http.StatusPreconditionFailed, "It was changed since."}
	case TypeExists:
		return description{http.StatusPreconditionFailed, "It exists already."}
	case TypeTooLarge:
		return description{http.StatusRequestEntityTooLarge, "The request is too large."}
	case TypeMediaType:
		return description{http.StatusUnsupportedMediaType, "The body's media type is not understood."}
	case TypeInvalid:
		return description{http.StatusUnprocessableEntity, "The configuration is refused."}
	case TypeUnavailable:
		return description{http.StatusServiceUnavailable, "The control plane cannot answer now."}
	case TypeTimeout:
		return description{http.StatusGatewayTimeout, "The store did not answer in time."}
	default:
		return description{http.StatusInternalServerError, "The control plane failed."}
	}
}

// Error is the problem document (RFC 9457) of every answer of 400 and above.
type Error struct {
	Type   ErrorType `json:"type"`
	Title  string    `json:"title"`
	Status int       `json:"status"`
	Detail string    `json:"detail,omitempty"`
	// Problems are everything that is wrong with the resources that were sent,
	// or, with TypeReferenced, the references that stand in the way.
	Problems []Problem `json:"problems,omitempty"`
	// Revision is the fleet's current revision, with TypeStale and TypeConflict.
	Revision uint64 `json:"revision,omitempty"`
}

// NewError makes an Error with the type's title and status.
func NewError(t ErrorType, format string, args ...any) *Error {
	return &Error{Type: t, Title: t.Title(), Status: t.Status(), Detail: fmt.Sprintf(format, args...)}
}

// Error implements error: the detail, or the title, and then one line for each
// problem.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Detail)
	if e.Detail == "" {
		b.WriteString(e.Title)
	}
	for _, p := range e.Problems {
		b.WriteByte('\n')
		b.WriteString(p.String())
	}
	return b.String()
}

// Problem is one thing that is wrong with one resource. Its fields are those of
// resource.Problem, so that each converts to the other.
type Problem struct {
	File string `json:"file,omitempty"`
	// Document counts from 1 in the body; 0: not from a document.
	Document int `json:"document,omitempty"`
	// Line counts from 1 in the whole body; 0: unknown.
	Line int    `json:"line,omitempty"`
	Kind string `json:"kind,omitempty"`
	Name string `json:"name,omitempty"`
	// Field is a path: spec.endpoints[0].address.
	Field      string `json:"field,omitempty"`
	Got        string `json:"got,omitempty"`
	Expected   string `json:"expected,omitempty"`
	Suggestion string `json:"suggestion,omitempty"`
}

// String is the problem on one line.
func (p Problem) String() string { return resource.Problem(p).String() }
