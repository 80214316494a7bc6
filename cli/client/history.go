package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// History returns one page of changes, newest first. before 0 starts at the
// newest; limit 0 leaves the size of the page to the server.
func (c *Client) History(ctx context.Context, before uint64, limit int) (api.HistoryList, error) {
	q := url.Values{}
	if before > 0 {
		q.Set(api.QueryBefore, strconv.FormatUint(before, 10))
	}
	if limit > 0 {
		q.Set(api.QueryLimit, strconv.Itoa(limit))
	}
	return read[api.HistoryList](ctx, c, call{method: http.MethodGet, path: api.PathHistory, query: q})
}

// Change returns one change with what it did.
func (c *Client) Change(ctx context.Context, revision uint64) (api.HistoryDetail, error) {
	return read[api.HistoryDetail](ctx, c, call{method: http.MethodGet, path: api.RevisionPath(revision)})
}

// DiffRevisions compares two revisions; to 0 is the current one.
func (c *Client) DiffRevisions(ctx context.Context, from, to uint64) (api.Diff, error) {
	q := url.Values{api.QueryFrom: {strconv.FormatUint(from, 10)}}
	if to > 0 {
		q.Set(api.QueryTo, strconv.FormatUint(to, 10))
	}
	return read[api.Diff](ctx, c, call{method: http.MethodGet, path: api.PathDiff, query: q})
}

// Rollback makes a new revision that holds what an old one held.
func (c *Client) Rollback(ctx context.Context, revision uint64, w Write) (api.ApplyResult, error) {
	body, err := json.Marshal(api.RollbackRequest{Revision: revision, Message: w.Message, WithCertificates: w.WithCertificates})
	if err != nil {
		return api.ApplyResult{}, err
	}
	w.Message = "" // travels in the body
	return read[api.ApplyResult](ctx, c, call{
		method: http.MethodPost, path: api.PathRollback, query: w.query(), header: w.header(),
		media: api.MediaJSON, body: body,
	})
}
