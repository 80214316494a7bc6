package api

import (
	"net/http"
	"net/url"
	"strconv"
)

// Paths of the REST interface. Those of configuration kinds are built by
// CollectionPath and ResourcePath.
const (
	PathApply    = "/v1/apply"
	PathHistory  = "/v1/history"
	PathDiff     = "/v1/diff"
	PathExplain  = "/v1/explain"
	PathRollback = "/v1/rollback"
	PathRestore  = "/v1/restore"
	PathNodes    = "/v1/nodes"
	PathVIPs     = "/v1/vips"
	PathEpoch    = "/v1/epoch"
	PathAccept   = "/v1/epoch/accept"
	PathEvents   = "/v1/events"
	PathStatus   = "/v1/status"
	PathVersion  = "/v1/version"
	PathOpenAPI  = "/v1/openapi.json"
	PathHealth   = "/healthz"
	PathReady    = "/readyz"
	PathMetrics  = "/metrics"
)

// CollectionPath is the path of all resources of a kind, by its plural.
func CollectionPath(plural string) string { return "/v1/" + plural }

// ResourcePath is the path of one resource of a kind, by the kind's plural.
func ResourcePath(plural, name string) string {
	return "/v1/" + plural + "/" + url.PathEscape(name)
}

// NodePath is the path of one node.
func NodePath(id string) string { return PathNodes + "/" + url.PathEscape(id) }

// VIPPath is the path of one virtual IP's status.
func VIPPath(name string) string { return PathVIPs + "/" + url.PathEscape(name) }

// RevisionPath is the path of one entry of the history.
func RevisionPath(revision uint64) string {
	return PathHistory + "/" + strconv.FormatUint(revision, 10)
}

// Reads tells whether a request of the method for the path changes nothing, whatever
// becomes of it.
func Reads(method, path string) bool {
	return method == http.MethodGet || path == PathDiff || path == PathExplain
}

// Query parameters.
const (
	QueryDryRun      = "dryRun"
	QueryMessage     = "message"
	QueryAllowShrink = "allowShrink"
	QueryBefore      = "before"
	QueryLimit       = "limit"
	QueryFrom        = "from"
	QueryTo          = "to"
)

// Header fields with a meaning of their own here.
const (
	// HeaderAuthor names who makes a change. It is not authenticated.
	HeaderAuthor = "X-Author"
)

// Media types of bodies and answers.
const (
	MediaJSON    = "application/json"
	MediaYAML    = "application/yaml"
	MediaProblem = "application/problem+json"
	MediaEvents  = "text/event-stream"
)

// Bounds that the server enforces.
const (
	// MaxBody bounds a request body: 100,000 routes of 600 bytes fit.
	MaxBody = 64 << 20
	// MaxMessage bounds the message of a change, in bytes.
	MaxMessage = 1024
	// MaxAuthor bounds the author of a change, in bytes.
	MaxAuthor = 128
	// DefaultHistoryLimit and MaxHistoryLimit bound one page of the history.
	DefaultHistoryLimit = 50
	MaxHistoryLimit     = 1000
	// MaxDiffEntries bounds the entries of one Diff; what is beyond is counted only.
	MaxDiffEntries = 10_000
)

// RevisionTag is the ETag of a fleet revision. It names the epoch, since each
// epoch counts its revisions from the beginning: a client of an epoch before
// must not match one of its own by chance.
func RevisionTag(epoch, revision uint64) string {
	return `"` + strconv.FormatUint(epoch, 10) + "-" + strconv.FormatUint(revision, 10) + `"`
}

// EpochTag is the ETag of an epoch.
func EpochTag(epoch uint64) string {
	return `"` + strconv.FormatUint(epoch, 10) + `"`
}
