package loadgen

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// PageObjects is how many objects a page has, which are asked for at once.
const PageObjects = 10

// page asks for all objects of a page on one kept connection, and tells for each
// how long it took from the page's beginning.
type page func(found func(time.Duration)) error

// pages opens one page after another, each when the one before is whole.
func (v *visitors) pages(open page) {
	for !v.stopped() {
		err := open(func(took time.Duration) {
			v.mu.Lock()
			v.latency.Add(took)
			v.mu.Unlock()
			v.done.Add(1)
		})
		if err != nil {
			v.fail(err)
		}
	}
}

// pipelined sends all requests of a page at once, and gets the answers in their
// order (RFC 9112 section 9.3.2).
func (v *visitors) pipelined() (open page, end func()) {
	var c net.Conn
	buf := make([]byte, readAnswer)
	requests := bytes.Repeat(v.options.Request, PageObjects)
	end = func() {
		if c != nil {
			c.Close()
			c = nil
		}
	}
	return func(found func(time.Duration)) (err error) {
		defer func() {
			if err != nil {
				end()
			}
		}()
		if c == nil {
			raw, err := v.dial()
			if err != nil {
				return err
			}
			config := ClientTLS(protocolHTTP1)
			config.ServerName = v.options.ServerName
			c = tls.Client(raw, config)
			if err := c.(*tls.Conn).Handshake(); err != nil {
				return err
			}
		}
		if err := c.SetDeadline(time.Now().Add(holdTimeout)); err != nil {
			return err
		}
		start := time.Now()
		if _, err := c.Write(requests); err != nil {
			return err
		}
		have := 0
		for range PageObjects {
			length := 0
			for length == 0 || have < length {
				if length, err = answerHead(buf[:have]); err != nil {
					return err
				}
				if length > 0 && have >= length {
					break
				}
				if have == len(buf) {
					return fmt.Errorf("%w: an answer of more than %d bytes", errMalformed, len(buf))
				}
				n, err := c.Read(buf[have:])
				if err != nil {
					return err
				}
				have += n
			}
			found(time.Since(start))
			have = copy(buf, buf[length:have])
		}
		return nil
	}, end
}

// multiplexed sends all requests of a page at once, each as a stream of one
// connection of HTTP/2.
func (v *visitors) multiplexed() (open page, end func()) {
	config := ClientTLS("")
	config.ServerName = v.options.ServerName
	t := &http.Transport{TLSClientConfig: config, Protocols: new(http.Protocols), MaxConnsPerHost: 1}
	t.Protocols.SetHTTP2(true)
	return func(found func(time.Duration)) error {
		ctx, cancel := context.WithTimeout(context.Background(), holdTimeout)
		defer cancel()
		start := time.Now()
		errs := make(chan error, PageObjects)
		var streams sync.WaitGroup
		for range PageObjects {
			streams.Go(func() {
				err := v.get(ctx, t)
				if err == nil {
					found(time.Since(start))
				}
				errs <- err
			})
		}
		streams.Wait()
		var first error
		for range PageObjects {
			if err := <-errs; first == nil {
				first = err
			}
		}
		return first
	}, t.CloseIdleConnections
}

// get asks for one object and reads it.
func (v *visitors) get(ctx context.Context, t *http.Transport) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+v.options.Target.String()+v.options.Path, nil)
	if err != nil {
		return err
	}
	request.Host = v.options.Host
	response, err := t.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
		return fmt.Errorf("%w: %s %s", errStatus, response.Proto, response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
