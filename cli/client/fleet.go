package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// maxEventLine bounds one line of the event stream; a node's status with all
// its problems fits.
const maxEventLine = 4 << 20

// Status returns the fleet at a glance.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return read[api.Status](ctx, c, call{method: http.MethodGet, path: api.PathStatus})
}

// Version returns the control plane's build.
func (c *Client) Version(ctx context.Context) (api.Build, error) {
	return read[api.Build](ctx, c, call{method: http.MethodGet, path: api.PathVersion})
}

// Ready says whether the control plane can do its work, and what that needs.
func (c *Client) Ready(ctx context.Context) (api.Health, error) {
	var h api.Health
	q := call{method: http.MethodGet, path: api.PathReady}
	a, err := c.do(ctx, q)
	// Not ready is an answer with status 503 and the same shape.
	if err != nil && a.status != http.StatusServiceUnavailable {
		return h, err
	}
	if jsonErr := json.Unmarshal(a.body, &h); jsonErr != nil {
		return h, &UnexpectedError{c.describe(q), a.status, jsonErr.Error()}
	}
	return h, nil
}

// Nodes returns every known node.
func (c *Client) Nodes(ctx context.Context) (api.NodeList, error) {
	return read[api.NodeList](ctx, c, call{method: http.MethodGet, path: api.PathNodes})
}

// Node returns one node.
func (c *Client) Node(ctx context.Context, id string) (api.NodeStatus, error) {
	return read[api.NodeStatus](ctx, c, call{method: http.MethodGet, path: api.NodePath(id)})
}

// NodeYAML returns a node as a resource of kind Node, with its tag.
func (c *Client) NodeYAML(ctx context.Context, id string) ([]byte, string, error) {
	return c.yaml(ctx, api.NodePath(id))
}

// PutNode replaces or creates a node.
func (c *Client) PutNode(ctx context.Context, id string, document []byte, w Write) (api.NodeStatus, error) {
	return read[api.NodeStatus](ctx, c, call{
		method: http.MethodPut, path: api.NodePath(id), header: w.header(),
		media: api.MediaYAML, body: document,
	})
}

// DeleteNode makes the fleet forget a node.
func (c *Client) DeleteNode(ctx context.Context, id string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: api.NodePath(id)})
	return err
}

// VIPs returns how every virtual IP stands.
func (c *Client) VIPs(ctx context.Context) (api.VIPList, error) {
	return read[api.VIPList](ctx, c, call{method: http.MethodGet, path: api.PathVIPs})
}

// VIP returns how one virtual IP stands.
func (c *Client) VIP(ctx context.Context, name string) (api.VIPStatus, error) {
	return read[api.VIPStatus](ctx, c, call{method: http.MethodGet, path: api.VIPPath(name)})
}

// Epoch returns the epoch in force, and the nodes that hold it.
func (c *Client) Epoch(ctx context.Context) (api.Epoch, error) {
	return read[api.Epoch](ctx, c, call{method: http.MethodGet, path: api.PathEpoch})
}

// AcceptEpoch makes nodes follow the epoch, if it is the one in force.
func (c *Client) AcceptEpoch(ctx context.Context, epoch uint64) (api.Epoch, error) {
	body, err := json.Marshal(api.AcceptRequest{Epoch: epoch})
	if err != nil {
		return api.Epoch{}, err
	}
	return read[api.Epoch](ctx, c, call{method: http.MethodPost, path: api.PathAccept, media: api.MediaJSON, body: body})
}

// Explain returns which routes a request gets.
func (c *Client) Explain(ctx context.Context, r api.ExplainRequest) (api.Explanation, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return api.Explanation{}, err
	}
	return read[api.Explanation](ctx, c, call{method: http.MethodPost, path: api.PathExplain, media: api.MediaJSON, body: body})
}

// Events reads the stream of events and hands each to report, until report
// returns an error, which is then returned, the stream ends (io.EOF) or breaks
// (ErrNoServer), or the context ends.
func (c *Client) Events(ctx context.Context, report func(api.Event) error) error {
	q := call{method: http.MethodGet, path: api.PathEvents, accept: api.MediaEvents + ", " + api.MediaProblem}
	resp, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxEventLine))
		if err != nil {
			return c.noAnswer(ctx, q, err)
		}
		return c.checkAnswer(q, answer{resp.StatusCode, resp.Header, body})
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEventLine)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue // the event's name is in its data too; comments keep the stream alive
		}
		var e api.Event
		if err := json.Unmarshal(data, &e); err != nil {
			return &UnexpectedError{c.describe(q), resp.StatusCode, err.Error()}
		}
		if err := report(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return &UnexpectedError{c.describe(q), resp.StatusCode, "an event is too long"}
		}
		return c.noAnswer(ctx, q, err)
	}
	return io.EOF
}
