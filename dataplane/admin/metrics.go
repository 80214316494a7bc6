package admin

import (
	"bytes"
	"net/http"

	"github.com/prometheus/common/expfmt"
)

// metrics answers /metrics. The answer is made whole before it is sent, so that
// a slow client holds no permit.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultAcceptedFormats()...)
	var body bytes.Buffer
	if err := s.gather(&body, format); err != nil {
		s.log.Error("metrics not gathered", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(format))
	_, _ = w.Write(body.Bytes())
}

func (s *Server) gather(body *bytes.Buffer, format expfmt.Format) error {
	s.config.acquire()
	defer s.config.release()
	families, err := s.gatherer.Gather()
	if err != nil {
		return err
	}
	encoder := expfmt.NewEncoder(&politeWriter{body: body, pause: s.config.pause}, format)
	for _, f := range families {
		if err := encoder.Encode(f); err != nil {
			return err
		}
	}
	if closer, ok := encoder.(expfmt.Closer); ok {
		return closer.Close()
	}
	return nil
}

// breathe is how much is encoded, in some 200 µs, between two pauses.
const breathe = 32 << 10

// politeWriter pauses now and then: encoding all histograms of thousands of
// routes takes a tenth of a second.
type politeWriter struct {
	body  *bytes.Buffer
	pause func()
	since int
}

// Write is part of io.Writer.
func (w *politeWriter) Write(p []byte) (int, error) {
	if w.since += len(p); w.since >= breathe {
		w.since = 0
		w.pause()
	}
	return w.body.Write(p)
}
