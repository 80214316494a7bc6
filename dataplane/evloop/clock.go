//go:build linux

package evloop

import "time"

// httpTime is the form of Date (RFC 9110 section 5.6.7).
const httpTime = "Mon, 02 Jan 2006 15:04:05 GMT"

// clock is the time of a loop. It is read once a turn: all that happens in one happens at
// the same time. Instants are nanoseconds since base.
type clock struct {
	now      int64
	base     time.Time // monotonic
	wallBase int64     // Unix nanoseconds at base

	dateSecond int64 // the Unix second that dateText says
	dateText   [len(httpTime)]byte
}

func newClock(base time.Time) clock { return clock{base: base, wallBase: base.UnixNano()} }

// tick reads the clock, once a turn.
func (c *clock) tick() { c.now = c.elapsed() }

// elapsed is what the time is by now, however long the turn has lasted.
func (c *clock) elapsed() int64 { return int64(time.Since(c.base)) }

// wall is an instant in Unix nanoseconds.
func (c *clock) wall(at int64) int64 { return c.wallBase + at }

// date is the time of this turn as answers say it, valid until that changes.
func (c *clock) date() []byte {
	if second := c.wall(c.now) / int64(time.Second); second != c.dateSecond {
		c.setDate(second)
	}
	return c.dateText[:]
}

// setDate is apart so that date is inlined.
func (c *clock) setDate(second int64) {
	c.dateSecond = second
	time.Unix(second, 0).UTC().AppendFormat(c.dateText[:0], httpTime)
}
