package compile

import (
	"strconv"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// retry converts what a route with defaults says of retries.
func retry(spec *fleetv1.Route) *table.Retry {
	d := spec.GetRetry()
	r := &table.Retry{
		Attempts:      uint8(d.GetAttempts()),
		NonIdempotent: d.GetNonIdempotent(),
		PerTry:        time.Duration(spec.GetTimeouts().GetPerTry()),
		Backoff:       time.Duration(d.GetBackoff()),
		Budget:        uint32(d.GetBudget() * 100),
		Buffer:        int(d.GetBuffer()),
	}
	for _, on := range d.GetOn() {
		switch on {
		case "CONNECT_FAILURE":
			r.On |= table.RetryOnConnectFailure
		case "RESET":
			r.On |= table.RetryOnReset
		case "TIMEOUT":
			r.On |= table.RetryOnTimeout
		case "REFUSED_STREAM":
			r.On |= table.RetryOnRefusedStream
		case "STATUS_5XX":
			for status := uint16(500); status < 600; status++ {
				r.Statuses.Add(status)
			}
		default: // the schema lets only STATUS_<code> pass
			if status, err := strconv.ParseUint(strings.TrimPrefix(on, "STATUS_"), 10, 16); err == nil {
				r.Statuses.Add(uint16(status))
			}
		}
	}
	return r
}

// retry converts what the route says of retries, if that is not the default.
func (m *routeMaker) retry() {
	m.out.Retry = m.defaults.retry
	if m.spec.GetRetry() == nil && m.spec.GetTimeouts().GetPerTry() == 0 {
		return
	}
	// What says nothing else of the route is enough for the defaults.
	own := &fleetv1.Route{Forward: []*fleetv1.Forward{{}}, Retry: m.spec.GetRetry(), Timeouts: m.spec.GetTimeouts()}
	m.out.Retry = retry(resource.WithDefaults(&fleetv1.Resource{Spec: &fleetv1.Resource_Route{Route: own}}).GetRoute())
}
