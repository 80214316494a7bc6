package loadgen

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// BackendOptions say how a backend answers.
type BackendOptions struct {
	Listen netip.AddrPort
	// Size is that of every answer's body.
	Size int
	// HTTP2: cleartext HTTP/2 with prior knowledge is spoken, in place of HTTP/1.1.
	HTTP2 bool
	// Control is read for commands, Out gets what they ask for.
	Control io.Reader
	Out     io.Writer
}

// Options say what is sent.
type Options struct {
	Target      netip.AddrPort
	Connections int
	// TLS: connections are of TLS 1.3.
	TLS bool
	// Short: each connection is for one request, which should ask for its end.
	Short bool
	// Requests are whole requests, chosen from at random.
	Requests [][]byte
	// Rate is in requests per second, as independent arrivals (Poisson); 0: each
	// connection sends again when it has its answer.
	Rate     float64
	Duration time.Duration
	// Warmup is the part of Duration whose latencies are not counted.
	Warmup time.Duration
	// Timeout is what answers get after the end of Duration.
	Timeout time.Duration
	Seed    uint64
}

// maxConnections is far above what one source address can open.
const maxConnections = 1 << 16

func (o Options) check() error {
	switch {
	case !o.Target.IsValid():
		return errors.New("load: no target")
	case o.Connections < 1 || o.Connections > maxConnections:
		return fmt.Errorf("load: %d connections", o.Connections)
	case len(o.Requests) == 0:
		return errors.New("load: no requests")
	case o.Rate < 0 || o.Duration <= 0 || o.Warmup < 0 || o.Warmup >= o.Duration || o.Timeout <= 0:
		return fmt.Errorf("load: rate %v, duration %v, warmup %v, timeout %v", o.Rate, o.Duration, o.Warmup, o.Timeout)
	}
	return nil
}

// Result is what became of the requests.
type Result struct {
	Succeeded uint64            `json:"succeeded"`
	Failed    uint64            `json:"failed"`
	Failures  map[string]uint64 `json:"failures,omitempty"`
	// FirstFailure tells more of one.
	FirstFailure string `json:"first_failure,omitempty"`
	// Measured is how many succeeded that were due after the warmup.
	Measured uint64 `json:"measured"`
	// Latencies from when a request was due to the end of its answer, in
	// microseconds.
	P50  float64 `json:"p50_us"`
	P95  float64 `json:"p95_us,omitempty"` // of pages only
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Max  float64 `json:"max_us"`
	// LateP99 is by how much requests were sent later than due although a
	// connection was free: the generator's own part.
	LateP99 float64 `json:"late_p99_us"`
	// Waited is how many found no free connection when they were due.
	Waited uint64 `json:"waited"`
}

// Request is the text of a request that a backend answers, with more fields.
func Request(host, path string, fields ...string) []byte {
	text := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n"
	for _, f := range fields {
		text += f + "\r\n"
	}
	return []byte(text + "\r\n")
}

// Post is the text of a request with a body of some bytes, which RunServer
// answers.
func Post(host, path string, size int) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", path, host, size, strings.Repeat("x", size))
}
