package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// submission is what a body holds: resources, those that can be stored with
// their canonical bytes, and all that is wrong with them so far.
type submission struct {
	docs []resource.Document
	// canonical has the bytes of docs[i]; nil for a broken one.
	canonical [][]byte
	problems  []resource.Problem
	// named has the index of the document of each key, the broken ones too.
	named map[resource.Key]int
}

// readBody reads a body of at most limit bytes and takes a token for the work on
// it. The caller calls done when it no longer works on it.
func (s *Server) readBody(c *gin.Context, limit int64) (data []byte, done func(), err error) {
	ctx := c.Request.Context()
	// Whoever sends much slowly holds up others who send much, and nobody else.
	if n := c.Request.ContentLength; n < 0 || n > smallBody {
		release, err := take(ctx, s.uploads, maxUploads, "large bodies are being read")
		if err != nil {
			return nil, nil, err
		}
		defer release()
	}
	data, err = io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, limit))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, nil, api.NewError(api.TypeTooLarge, "body: expected at most %d bytes", tooLarge.Limit)
		}
		return nil, nil, api.NewError(api.TypeMalformed, "body: %v", err)
	}
	done, err = take(ctx, s.bodies, maxBodies, "bodies are being worked on")
	return data, done, err
}

// take waits for one of n tokens and returns what gives it back.
func take(ctx context.Context, tokens chan struct{}, n int, busy string) (release func(), err error) {
	select {
	case tokens <- struct{}{}:
		return func() { <-tokens }, nil
	case <-ctx.Done():
		return nil, api.NewError(api.TypeUnavailable, "%d %s", n, busy)
	}
}

// submitted reads and decodes a body of resources of the configuration.
func (s *Server) submitted(c *gin.Context) (*submission, func(), error) {
	return s.decoded(c, func(kind string) bool { return kind != resource.Node })
}

// decoded reads and decodes a body. Kinds that do not belong are problems.
func (s *Server) decoded(c *gin.Context, belongs func(kind string) bool) (*submission, func(), error) {
	if _, err := bodyForm(c.GetHeader("Content-Type")); err != nil {
		return nil, nil, err
	}
	data, done, err := s.readBody(c, api.MaxBody)
	if err != nil {
		return nil, nil, err
	}
	sub, err := decode(data, belongs)
	if err != nil {
		done()
		return nil, nil, err
	}
	return sub, done, nil
}

func decode(data []byte, belongs func(kind string) bool) (*submission, error) {
	docs, problems := resource.Decode(data, resource.DecodeOptions{})
	if len(docs) == 0 && len(problems) == 0 {
		return nil, api.NewError(api.TypeMalformed, "body: expected at least one resource")
	}
	if !slices.ContainsFunc(docs, func(d resource.Document) bool { return d.Resource != nil || d.Key != (resource.Key{}) }) {
		e := api.NewError(api.TypeMalformed, "body: nothing in it can be read as a resource")
		e.Problems = problemList(problems)
		return nil, e
	}
	sub := &submission{
		docs: docs, problems: problems,
		canonical: make([][]byte, len(docs)),
		named:     make(map[resource.Key]int, len(docs)),
	}
	for i := range docs {
		sub.add(i, belongs)
	}
	return sub, nil
}

// add takes one document in: its bytes if it is whole, a problem if not.
func (sub *submission) add(i int, belongs func(kind string) bool) {
	doc := &sub.docs[i]
	if _, twice := sub.named[doc.Key]; !twice && doc.Key.Name != "" {
		sub.named[doc.Key] = i
	}
	if !belongs(doc.Key.Kind) && doc.Key.Kind != "" {
		expected := "a kind of the configuration"
		if doc.Key.Kind == resource.Node {
			expected += ": nodes are fleet state, which proxyctl edit node/" + doc.Key.Name + " changes (PUT " + api.NodePath(doc.Key.Name) + ")"
		}
		sub.refuse(doc, resource.Problem{Field: "kind", Got: doc.Key.Kind, Expected: expected})
	}
	if doc.Broken {
		return
	}
	canonical, err := resource.Canonical(doc.Resource)
	if err != nil {
		// Decoding measured it already.
		sub.refuse(doc, resource.Problem{Expected: err.Error()})
		return
	}
	sub.canonical[i] = canonical
}

// refuse adds a problem with a document, unless decoding reported that field.
func (sub *submission) refuse(doc *resource.Document, p resource.Problem) {
	doc.Broken = true
	p = doc.Locate(p)
	p.Kind, p.Name = doc.Key.Kind, doc.Key.Name
	if !slices.ContainsFunc(sub.problems, func(known resource.Problem) bool {
		return known.Document == p.Document && known.Field == p.Field
	}) {
		sub.problems = append(sub.problems, p)
	}
}

// one is the only resource of a body that must be the named one.
func (sub *submission) one(key resource.Key) (*fleetv1.Resource, error) {
	if len(sub.docs) != 1 {
		return nil, api.NewError(api.TypeMalformed, "body: expected one resource, got %d", len(sub.docs))
	}
	doc := &sub.docs[0]
	if doc.Key != key && doc.Key.Kind != "" && doc.Key.Name != "" {
		field, got, want := "name", doc.Key.Name, key.Name
		if doc.Key.Kind != key.Kind {
			field, got, want = "kind", doc.Key.Kind, key.Kind
		}
		sub.refuse(doc, resource.Problem{Field: field, Got: got, Expected: want + ", as in the path"})
	}
	if len(sub.problems) > 0 {
		return nil, invalid(sub.problems)
	}
	return doc.Resource, nil
}

// checkQuery refuses parameters that the operation does not have, so that a
// misspelt one never changes what a request means.
func checkQuery(r *http.Request, known []parameter) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return api.NewError(api.TypeMalformed, "query: %v", err)
	}
	for name, values := range query {
		i := slices.IndexFunc(known, func(p parameter) bool { return p.name == name })
		if i < 0 {
			var names []string
			for _, p := range known {
				names = append(names, p.name)
			}
			expected := "none"
			if len(names) > 0 {
				expected = "one of " + strings.Join(names, ", ")
			}
			return api.NewError(api.TypeMalformed, "query parameter %q is not known: expected %s", name, expected)
		}
		if len(values) > 1 {
			return api.NewError(api.TypeMalformed, "query parameter %q: expected once", name)
		}
	}
	return nil
}

func boolQuery(c *gin.Context, name string) (bool, error) {
	switch text, ok := c.GetQuery(name); {
	case !ok || text == "false":
		return false, nil
	case text == "true":
		return true, nil
	default:
		return false, api.NewError(api.TypeMalformed, "query parameter %s=%q: expected true or false", name, text)
	}
}

// numberQuery reads a number of at most most; fallback if it is not there.
func numberQuery(c *gin.Context, name string, fallback, most uint64) (uint64, error) {
	text, ok := c.GetQuery(name)
	if !ok {
		return fallback, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > most {
		return 0, api.NewError(api.TypeMalformed, "query parameter %s=%q: expected a number up to %d", name, text, most)
	}
	return n, nil
}

// printable checks a text that ends up in the history.
func printable(what, text string, most int, newlines bool) error {
	if len(text) > most {
		return api.NewError(api.TypeMalformed, "%s: expected at most %d bytes, got %d", what, most, len(text))
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsPrint(r) && (!newlines || r != '\n' && r != '\t')
	}) {
		return api.NewError(api.TypeMalformed, "%s %q: expected printable text", what, text)
	}
	return nil
}

// pathValue is a path parameter, unescaped.
func pathValue(c *gin.Context, name string) (string, error) {
	value, err := url.PathUnescape(c.Param(name))
	if err != nil || value == "" {
		return "", api.NewError(api.TypeMalformed, "path %q: %s cannot be read", c.Request.URL.EscapedPath(), name)
	}
	return value, nil
}

// maxShape bounds a JSON body that is no resource: the longest has a message, or the head of
// a request.
const maxShape = 64 << 10

// readShape reads a JSON body that is no resource.
func (s *Server) readShape(c *gin.Context, v any) error {
	if f, err := bodyForm(c.GetHeader("Content-Type")); err != nil || f != formJSON {
		return api.NewError(api.TypeMediaType, "content type %q: expected %s", c.GetHeader("Content-Type"), api.MediaJSON)
	}
	data, done, err := s.readBody(c, maxShape)
	if err != nil {
		return err
	}
	defer done()
	return strictJSON(data, v)
}

// strictJSON decodes a small JSON body whose every field must be known.
func strictJSON(data []byte, v any) error {
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return api.NewError(api.TypeMalformed, "body: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return api.NewError(api.TypeMalformed, "body: expected one JSON object")
	}
	return nil
}
