//go:build linux

package evloop

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
)

// flushes counts what a sink is asked.
type flushes struct{ finished, flushed int }

func (f *flushes) Finish(*exchange.Record) { f.finished++ }
func (f *flushes) Flush()                  { f.flushed++ }

// TestARecordWaitsNoLongerThanASecond and a sink that has none is not asked.
func TestARecordWaitsNoLongerThanASecond(t *testing.T) {
	var sink flushes
	r := recorder{sink: &sink}
	if r.flushDue(5 * flushEvery); sink.flushed != 0 {
		t.Error("a sink without records is flushed")
	}
	r.finish(10)
	r.finish(20)
	if r.flushDue(10 + flushEvery - 1); sink.flushed != 0 || sink.finished != 2 {
		t.Errorf("%d records, flushed %d times before the time", sink.finished, sink.flushed)
	}
	r.flushDue(10 + flushEvery)
	if r.flushDue(10 + 2*flushEvery); sink.flushed != 1 || r.flushAt != 0 {
		t.Errorf("flushed %d times, and again at %d", sink.flushed, r.flushAt)
	}
}
