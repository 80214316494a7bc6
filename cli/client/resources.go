package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// Write says how a change is made.
type Write struct {
	DryRun      bool
	AllowShrink bool
	Message     string
	// IfMatch is the tag of the fleet's revision (apply, restore, rollback; see
	// api.RevisionTag) or of the resource (put, delete) that must still hold;
	// quotes may be left out; empty: none.
	IfMatch string
	// WithCertificates makes Rollback bring back certificates that have expired, or
	// are older than those in force.
	WithCertificates bool
	// CreateOnly makes Put refuse to replace.
	CreateOnly bool
}

func (w Write) query() url.Values {
	v := url.Values{}
	if w.DryRun {
		v.Set(api.QueryDryRun, "true")
	}
	if w.AllowShrink {
		v.Set(api.QueryAllowShrink, "true")
	}
	if w.Message != "" {
		v.Set(api.QueryMessage, w.Message)
	}
	return v
}

func (w Write) header() http.Header {
	h := http.Header{}
	if w.IfMatch != "" {
		h.Set("If-Match", quoted(w.IfMatch))
	}
	if w.CreateOnly {
		h.Set("If-None-Match", "*")
	}
	return h
}

// quoted makes an entity tag of what may be one already.
func quoted(tag string) string {
	if len(tag) > 1 && tag[0] == '"' {
		return tag
	}
	return `"` + tag + `"`
}

// Apply replaces the resources of the YAML or JSON documents, all or none.
func (c *Client) Apply(ctx context.Context, documents []byte, w Write) (api.ApplyResult, error) {
	return read[api.ApplyResult](ctx, c, call{
		method: http.MethodPost, path: api.PathApply, query: w.query(), header: w.header(),
		media: api.MediaYAML, body: documents,
	})
}

// Restore makes the configuration the resources of the YAML or JSON documents: all others
// are deleted.
func (c *Client) Restore(ctx context.Context, documents []byte, w Write) (api.ApplyResult, error) {
	return read[api.ApplyResult](ctx, c, call{
		method: http.MethodPost, path: api.PathRestore, query: w.query(), header: w.header(),
		media: api.MediaYAML, body: documents,
	})
}

// Diff says what Apply would change.
func (c *Client) Diff(ctx context.Context, documents []byte) (api.Diff, error) {
	return read[api.Diff](ctx, c, call{
		method: http.MethodPost, path: api.PathDiff, media: api.MediaYAML, body: documents,
	})
}

// List returns all resources of the kind with that plural.
func (c *Client) List(ctx context.Context, plural string) (api.ResourceList, error) {
	return read[api.ResourceList](ctx, c, call{method: http.MethodGet, path: api.CollectionPath(plural)})
}

// Get returns one resource in its JSON text form, with its tag.
func (c *Client) Get(ctx context.Context, plural, name string) (json.RawMessage, string, error) {
	return readTagged[json.RawMessage](ctx, c, call{method: http.MethodGet, path: api.ResourcePath(plural, name)})
}

// GetYAML returns one resource in its YAML text form, with its tag.
func (c *Client) GetYAML(ctx context.Context, plural, name string) ([]byte, string, error) {
	return c.yaml(ctx, api.ResourcePath(plural, name))
}

func (c *Client) yaml(ctx context.Context, path string) ([]byte, string, error) {
	a, err := c.do(ctx, call{method: http.MethodGet, path: path, accept: api.MediaYAML})
	return a.body, a.header.Get("ETag"), err
}

// Put replaces or creates one resource.
func (c *Client) Put(ctx context.Context, plural, name string, document []byte, w Write) (api.ApplyResult, error) {
	return read[api.ApplyResult](ctx, c, call{
		method: http.MethodPut, path: api.ResourcePath(plural, name), query: w.query(), header: w.header(),
		media: api.MediaYAML, body: document,
	})
}

// Delete removes one resource.
func (c *Client) Delete(ctx context.Context, plural, name string, w Write) (api.ApplyResult, error) {
	return read[api.ApplyResult](ctx, c, call{
		method: http.MethodDelete, path: api.ResourcePath(plural, name), query: w.query(), header: w.header(),
	})
}
