package load

import (
	"errors"
	"fmt"
	"time"
)

// Schedule is how requests are spread over time.
type Schedule uint8

// The schedules.
const (
	// Poisson: independent arrivals, as of many clients. The default.
	Poisson Schedule = iota
	// Uniform: equal gaps.
	Uniform
)

// Shape is one kind of request.
type Shape struct {
	Name string // in the result; default: method and path
	// Weight is the shape's share among the shapes; default 1.
	Weight int

	Method  string // default GET, or POST with a body
	Host    string // default: the target
	Path    string // path and query; default "/"
	Headers [][2]string
	// Body is the size of the request's body; it is sent in chunks if Chunked.
	Body    int
	Chunked bool

	// Of an answer by a Backend: its size, and whether it comes in chunks. They are
	// added to the query.
	Answer        int
	AnswerChunked bool

	// Of an answer by any other server. Status is what is expected, default 200.
	// Foreign: no Backend answers, so there is no echo to check. Want is the whole
	// body that a foreign answer must have, if not empty.
	Status  int
	Foreign bool
	Want    string
}

// Options say what is sent. Targets and one bound (Duration or Requests) are
// required.
type Options struct {
	// Targets are addresses ("127.0.0.11:8080"), taken in turn.
	Targets []string
	// Shapes are chosen from at random, by weight; default: one GET of "/".
	Shapes []Shape

	// Rate is in requests per second. 0: as many as the workers can, one after
	// another; latency then counts from the sending.
	Rate     float64
	Schedule Schedule
	// Duration and Requests bound the run, whichever comes first. Warmup is the
	// part of Duration whose latencies are not counted; failures are.
	Duration, Warmup time.Duration
	Requests         int

	// Workers is how many requests may be under way; default 64. Each worker keeps
	// one connection to each target.
	Workers int
	// NewConnections is the share (0 to 1) of requests that come on a connection of
	// their own, which they ask to be closed.
	NewConnections float64
	// Timeout is for one request, connecting included; default 5 s.
	Timeout time.Duration
	// RetryClosed sends a request without a body once more when a kept connection
	// ended before a byte of the answer, as RFC 9112 section 9.3.1 lets clients do.
	RetryClosed bool

	// CountHeader names a field of answers; the result counts its values.
	CountHeader string
	// Seed makes the choice of shapes and the schedule repeatable.
	Seed uint64
}

const (
	defaultWorkers = 64
	defaultTimeout = 5 * time.Second
	// maxBacklog is how many requests may be due and wait for a worker. More are
	// failures of class Overrun: the generator, or a server that stands still.
	maxBacklog = 1 << 16
	// maxCounted bounds the values of CountHeader that are told apart.
	maxCounted = 1000
)

func (o Options) withDefaults() (Options, error) {
	if len(o.Targets) == 0 {
		return o, errors.New("load: no target")
	}
	if o.Duration <= 0 && o.Requests <= 0 {
		return o, errors.New("load: neither Duration nor Requests bounds the run")
	}
	if o.Rate < 0 || o.NewConnections < 0 || o.NewConnections > 1 {
		return o, fmt.Errorf("load: rate %v, share of new connections %v", o.Rate, o.NewConnections)
	}
	if o.Workers <= 0 {
		o.Workers = defaultWorkers
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if len(o.Shapes) == 0 {
		o.Shapes = []Shape{{}}
	}
	shapes := make([]Shape, len(o.Shapes))
	for i, s := range o.Shapes {
		shapes[i] = s.withDefaults()
	}
	o.Shapes = shapes
	return o, nil
}

func (s Shape) withDefaults() Shape {
	if s.Weight <= 0 {
		s.Weight = 1
	}
	if s.Method == "" {
		s.Method = "GET"
		if s.Body > 0 {
			s.Method = "POST"
		}
	}
	if s.Path == "" {
		s.Path = "/"
	}
	if s.Status == 0 {
		s.Status = 200
	}
	if s.Name == "" {
		s.Name = s.Method + " " + s.Path
	}
	return s
}
