package rest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// tags is an If-Match or If-None-Match field (RFC 9110 section 13.1). Quotes may
// be left out, since people type tags by hand. The zero value is a field
// that was not sent.
type tags struct {
	sent bool
	any  bool
	list []string
}

func readTags(fields []string) (tags, error) {
	t := tags{sent: len(fields) > 0}
	for _, field := range fields {
		for item := range strings.SplitSeq(field, ",") {
			item = strings.TrimSpace(item)
			switch {
			case item == "*":
				t.any = true
			case strings.HasPrefix(item, "W/"):
				// If-Match compares strongly: a weak tag never matches (section 13.1.1).
			case len(item) >= 2 && item[0] == '"' && item[len(item)-1] == '"':
				t.list = append(t.list, item[1:len(item)-1])
			case item != "" && !strings.Contains(item, `"`):
				t.list = append(t.list, item)
			default:
				return tags{}, api.NewError(api.TypeMalformed, "entity tag %q: expected \"…\" or *", item)
			}
		}
	}
	return t, nil
}

func (t tags) has(tag string) bool {
	for _, item := range t.list {
		if item == tag {
			return true
		}
	}
	return t.any
}

// holds says whether If-Match allows a change of what has this ETag, in quotes.
func (t tags) holds(etag string) bool {
	return !t.sent || t.has(strings.Trim(etag, `"`))
}

// holdsLeaf says whether If-Match allows a change of a resource; a resource that
// does not exist has no tag, not even * (section 13.1.1).
func (t tags) holdsLeaf(leaf tree.Leaf, exists bool) bool {
	return !t.sent || exists && t.holds(leafTag(leaf.Hash))
}

// holdsNode says whether If-Match allows a change of a node record; 0: there is
// none.
func (t tags) holdsNode(seen int64) bool {
	return !t.sent || seen != 0 && t.holds(nodeTag(seen))
}

// checkConditions refuses a precondition that the operation would not look at:
// whoever sends one means it. Reads are harmless.
func checkConditions(r *http.Request, op operation) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || op.id == "" {
		return nil
	}
	for _, name := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		_, sent := r.Header[name]
		if sent && !slices.ContainsFunc(op.headers, func(p parameter) bool { return p.name == name }) {
			return api.NewError(api.TypeMalformed, "%s: %s %s does not take it", name, op.method, op.template())
		}
	}
	return nil
}

// createOnly says whether If-None-Match asks for that. Other uses of it are
// refused rather than not understood.
func createOnly(r *http.Request) (bool, error) {
	none, err := readTags(r.Header["If-None-Match"])
	if err != nil {
		return false, err
	}
	if none.sent && (!none.any || len(none.list) > 0) {
		return false, api.NewError(api.TypeMalformed, "If-None-Match: expected *, which only creates")
	}
	return none.sent, nil
}

func leafTag(h tree.Hash) string { return `"` + h.String() + `"` }

func nodeTag(seen int64) string { return `"` + strconv.FormatInt(seen, 10) + `"` }

func versionTag(v api.Version) string { return api.RevisionTag(v.Epoch, v.Revision) }
