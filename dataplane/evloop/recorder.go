//go:build linux

package evloop

import (
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
)

// flushEvery is how long a record may wait in a sink's buffer.
const flushEvery = int64(time.Second)

// recorder hands the records of a loop to its sink.
type recorder struct {
	sink    Sink
	record  exchange.Record // to be filled, and then finished
	flushAt int64           // when the sink is flushed; 0: it has nothing
}

// finish gives the record that was filled to the sink.
func (r *recorder) finish(now int64) {
	if r.flushAt == 0 {
		r.flushAt = now + flushEvery
	}
	r.sink.Finish(&r.record)
}

// flushDue is called when a turn ends.
func (r *recorder) flushDue(now int64) {
	if r.flushAt > 0 && now >= r.flushAt {
		r.flushAt = 0
		r.sink.Flush()
	}
}
