package rest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// heartbeat is how often a comment shows that a quiet stream is alive; proxies
// commonly cut what is silent for a minute.
const heartbeat = 15 * time.Second

// events answers with a stream of server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (s *Server) events(c *gin.Context) error {
	if quality(c.Request.Header["Accept"], "text", "event-stream") <= 0 {
		return api.NewError(api.TypeAcceptable, "accept %q: expected %s", c.GetHeader("Accept"), api.MediaEvents)
	}
	// Subscribed first, so that nothing falls between the status and the events.
	st, err := s.hub.subscribe()
	if err != nil {
		return err
	}
	defer s.hub.unsubscribe(st)
	status, err := s.fleetStatus(c.Request.Context())
	if err != nil {
		return err
	}
	control := http.NewResponseController(c.Writer)
	// The request was read; its deadline must not end the stream.
	_ = control.SetReadDeadline(time.Time{})
	c.Header("Content-Type", api.MediaEvents)
	c.Header("Cache-Control", "no-store")
	c.Status(http.StatusOK)
	send := func(text []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err := c.Writer.Write(text)
		return err == nil && control.Flush() == nil
	}
	if !send(appendMessage(nil, s.hub.number(api.Event{Type: api.EventStatus, Status: &status}))) {
		return nil
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	var text []byte
	for {
		select {
		case m, ok := <-st.events:
			if !ok && st.lagged {
				send(appendMessage(text[:0], s.hub.number(api.Event{Type: api.EventLagged})))
			}
			if !ok {
				return nil
			}
			text = appendMessage(text[:0], m)
		case <-tick.C:
			text = append(text[:0], ":\n\n"...)
		case <-c.Request.Context().Done():
			return nil
		}
		if !send(text) {
			return nil
		}
	}
}

// appendMessage writes one event. JSON has no raw newline, so data is one line.
func appendMessage(dst []byte, m message) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, m.kind...)
	dst = append(dst, "\nid: "...)
	dst = strconv.AppendUint(dst, m.id, 10)
	dst = append(dst, "\ndata: "...)
	dst = append(dst, m.data...)
	return append(dst, "\n\n"...)
}
