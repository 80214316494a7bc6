package load

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Class is a way to fail.
type Class string

// The classes of failures.
const (
	Refused   Class = "refused"   // the connection was not accepted
	Reset     Class = "reset"     // the connection was reset
	Timeout   Class = "timeout"   // no whole answer in time, connecting included
	Closed    Class = "closed"    // the connection ended before the answer began
	Truncated Class = "truncated" // the connection ended in mid-answer
	Wrong     Class = "wrong"     // another status, body, or somebody else's answer
	Malformed Class = "malformed" // no HTTP
	Overrun   Class = "overrun"   // never sent: too many others waited
	Other     Class = "other"
)

// failure is an error with its class.
type failure struct {
	class Class
	err   error
}

func (f *failure) Error() string { return string(f.class) + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(class Class, text string) error { return &failure{class, errors.New(text)} }

// classify finds the class of what a connection returned.
func classify(err error) Class {
	var f *failure
	var timeout net.Error
	switch {
	case errors.As(err, &f):
		return f.class
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return Closed
	}
	return Other
}

// Quantiles sum up durations, in microseconds.
type Quantiles struct {
	P50  int64   `json:"p50_us"`
	P90  int64   `json:"p90_us"`
	P99  int64   `json:"p99_us"`
	P999 int64   `json:"p999_us"`
	Max  int64   `json:"max_us"`
	Mean float64 `json:"mean_us"`
}

func quantilesOf(h *hdrhistogram.Histogram) Quantiles {
	return Quantiles{
		P50:  h.ValueAtQuantile(50),
		P90:  h.ValueAtQuantile(90),
		P99:  h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9),
		Max:  h.Max(),
		Mean: h.Mean(),
	}
}

// Failure is one of the first failures of a run.
type Failure struct {
	// At is when the request was due, from the start of the run.
	At     time.Duration `json:"at_ns"`
	Class  Class         `json:"class"`
	Shape  string        `json:"shape"`
	Target string        `json:"target"`
	Detail string        `json:"detail"`
}

// ShapeResult is what became of one shape's requests.
type ShapeResult struct {
	Name      string `json:"name"`
	Succeeded uint64 `json:"succeeded"`
	Failed    uint64 `json:"failed"`
}

// Result is what a run found.
type Result struct {
	Succeeded uint64           `json:"succeeded"`
	Failed    uint64           `json:"failed"`
	Failures  map[Class]uint64 `json:"failures,omitempty"`
	// Samples are the first failures, at most maxSamples.
	Samples []Failure     `json:"samples,omitempty"`
	Shapes  []ShapeResult `json:"shapes"`
	// Elapsed is from the start to the last answer; Rate is answers per second.
	Elapsed time.Duration `json:"elapsed_ns"`
	Rate    float64       `json:"rate"`

	// Measured is how many of those that succeeded were due after the warmup; the
	// durations are theirs. Latency is from when a request was due to the end of its
	// answer. Service is from its sending. Late is by how much it was sent later than
	// due although a worker was free: the generator's own part.
	Measured uint64    `json:"measured"`
	Latency  Quantiles `json:"latency"`
	Service  Quantiles `json:"service"`
	Late     Quantiles `json:"late"`

	BytesSent     uint64 `json:"bytes_sent"`
	BytesReceived uint64 `json:"bytes_received"`

	// Connections that were opened, and kept ones that the server ended, with or
	// without saying so in an answer. BackendConnections is how many different ones
	// the answers' backends named.
	ConnectionsOpened  uint64 `json:"connections_opened"`
	ConnectionsEnded   uint64 `json:"connections_ended"`
	BackendConnections uint64 `json:"backend_connections"`
	Retried            uint64 `json:"retried"`
	// Counts are the values of Options.CountHeader.
	Counts map[string]uint64 `json:"counts,omitempty"`
	// Gap is the longest time between two successes, or from the start to the first
	// and from the last to the end: how long nothing was answered.
	Gap time.Duration `json:"gap_ns"`
}

const (
	maxSamples = 20
	// Durations are kept from 1 µs to 2 min at three digits.
	maxTracked = int64(2 * time.Minute / time.Microsecond)
)

// recorder collects what the workers find.
type recorder struct {
	options *Options
	start   time.Time

	mu                     sync.Mutex // guards what follows
	result                 Result
	latency, service, late *hdrhistogram.Histogram
	backends               map[backendConnection]struct{}
	lastSuccess, end       time.Time
}

type backendConnection struct {
	backend    uint64 // checksum of its name
	connection uint64
}

func newRecorder(o *Options) *recorder {
	r := &recorder{
		options:  o,
		latency:  hdrhistogram.New(1, maxTracked, 3),
		service:  hdrhistogram.New(1, maxTracked, 3),
		late:     hdrhistogram.New(1, maxTracked, 3),
		backends: map[backendConnection]struct{}{},
	}
	r.result.Failures = map[Class]uint64{}
	if o.CountHeader != "" {
		r.result.Counts = map[string]uint64{}
	}
	r.result.Shapes = make([]ShapeResult, len(o.Shapes))
	for i := range o.Shapes {
		r.result.Shapes[i].Name = o.Shapes[i].Name
	}
	return r
}

// outcome is one request.
type outcome struct {
	ticket      ticket
	target      string
	sent, ended time.Time
	waited      bool // no worker was free when it was due
	err         error
	bytesOut    int
	answer      *answer
	opened      int
	lost        bool // a kept connection ended
	retried     bool
}

func (r *recorder) add(o *outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := &r.result
	shape := &res.Shapes[o.ticket.shape]
	res.ConnectionsOpened += uint64(o.opened)
	if o.lost {
		res.ConnectionsEnded++
	}
	if o.retried {
		res.Retried++
	}
	res.BytesSent += uint64(o.bytesOut)
	if o.ended.After(r.end) {
		r.end = o.ended
	}
	if o.err != nil {
		class := classify(o.err)
		res.Failed++
		shape.Failed++
		res.Failures[class]++
		if len(res.Samples) < maxSamples {
			res.Samples = append(res.Samples, Failure{
				At: o.ticket.due.Sub(r.start), Class: class, Shape: shape.Name, Target: o.target, Detail: o.err.Error(),
			})
		}
		return
	}
	res.Succeeded++
	shape.Succeeded++
	res.BytesReceived += uint64(o.answer.received)
	if o.answer.connection != 0 {
		r.backends[backendConnection{o.answer.backend, o.answer.connection}] = struct{}{}
	}
	r.count(o.answer.counted)
	if gap := o.ended.Sub(r.lastSuccess); gap > res.Gap {
		res.Gap = gap
	}
	if o.ended.After(r.lastSuccess) {
		r.lastSuccess = o.ended
	}
	if o.ticket.due.Sub(r.start) < r.options.Warmup {
		return
	}
	res.Measured++
	record(r.latency, o.ended.Sub(o.ticket.due))
	record(r.service, o.ended.Sub(o.sent))
	if !o.waited {
		record(r.late, o.sent.Sub(o.ticket.due))
	}
}

func (r *recorder) count(value []byte) {
	if r.result.Counts == nil || value == nil {
		return
	}
	if _, known := r.result.Counts[string(value)]; !known && len(r.result.Counts) >= maxCounted {
		value = []byte("other")
	}
	r.result.Counts[string(value)]++
}

// overrun counts a request that could not even be queued.
func (r *recorder) overrun(t ticket) {
	r.add(&outcome{ticket: t, ended: t.due, err: fail(Overrun, "too many requests wait for a worker")})
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d.Microseconds(), 1), maxTracked)) // in range by the line itself
}

func (r *recorder) finish() *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := &r.result
	if gap := r.end.Sub(r.lastSuccess); gap > res.Gap {
		res.Gap = gap
	}
	res.Elapsed = r.end.Sub(r.start)
	if res.Elapsed > 0 {
		res.Rate = float64(res.Succeeded) / res.Elapsed.Seconds()
	}
	res.Latency, res.Service, res.Late = quantilesOf(r.latency), quantilesOf(r.service), quantilesOf(r.late)
	res.BackendConnections = uint64(len(r.backends))
	return res
}
