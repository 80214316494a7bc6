//go:build linux

package evloop

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// silence keeps clients off a listening socket who were refused and go on: the kernel drops the
// packets by which they begin connections (SYN), without an answer, by a filter of the socket
// (SO_ATTACH_FILTER, socket(7)). They cost the node nothing then. TCP sends such a packet
// again after 1 second, and 3, and 7 (RFC 6298 section 2), so to who is kept off the node is slow.
//
// It knows whom to keep off, and when the filter is to be another one. To make one takes the kernel
// as long as some refusals do, so a client is kept off for a while at least, and the filter changes
// seldom. What does not fit in is refused one by one.
type silence struct {
	clients []silenced
	on      bool   // there is a filter
	due     int64  // when there is to be another one; 0: never
	changed int64  // when there was
	lasts   int64  // until when connections may come that have the filter, too
	dropped uint32 // the kernel's count of what it dropped, as it was when we looked last
	denied  bool   // the kernel takes no filter
}

// silenced is a client that was refused lately.
type silenced struct {
	client uint64
	times  int   // that it was refused, since it was not for silenceMemory
	last   int64 // when
	until  int64 // when it is heard again; a time that has passed: it is heard
}

const (
	// silenceMost is how many clients a socket has kept off at most, and knows to have been refused:
	// a filter is a list that is gone through for each packet that begins a connection.
	silenceMost = 128
	// silenceAfter is how often a client is refused, and knows it by the reset, before it is kept off.
	silenceAfter = 8
	// silenceTime is for how long, if it has not to pay for longer.
	silenceTime = int64(time.Second)
	// silencePause is between two filters.
	silencePause = int64(25 * time.Millisecond)
	// silenceMemory is for how long it is known to have been refused: still when a relapse is over.
	silenceMemory = relapseTime + int64(5*time.Second)
	// silenceQueue is how long a connection may have waited to be accepted that still has a
	// filter which is gone: connections have that of their socket when they began.
	silenceQueue = int64(10 * time.Second)
)

// refused notes that a client was refused that has paid at that time.
func (q *silence) refused(client uint64, now, paid int64) {
	if q.denied {
		return
	}
	c := q.find(client, now)
	if c == nil {
		return
	}
	c.times, c.last = c.times+1, now
	if c.times >= silenceAfter { // also if it is kept off already: then the filter was lost
		c.until = max(paid, now+silenceTime)
		q.dueAt(now)
	}
}

// find is what is known of a client; nil: there is no room for it.
func (q *silence) find(client uint64, now int64) *silenced {
	var oldest *silenced
	for i := range q.clients {
		c := &q.clients[i]
		if c.client == client {
			if now-c.last > silenceMemory && c.until <= now {
				c.times = 0
			}
			return c
		}
		if c.until <= now && (oldest == nil || c.last < oldest.last) {
			oldest = c
		}
	}
	if len(q.clients) < silenceMost {
		q.clients = append(q.clients, silenced{})
		oldest = &q.clients[len(q.clients)-1]
	}
	if oldest != nil {
		*oldest = silenced{client: client}
	}
	return oldest
}

// dueAt has the filter changed at that time, or when it has been there for silencePause.
func (q *silence) dueAt(at int64) {
	if q.changed > 0 {
		at = max(at, q.changed+silencePause)
	}
	if q.due == 0 || at < q.due {
		q.due = at
	}
}

// change is the filter that there is to be from now on, and when the next; nil: none.
func (q *silence) change(now int64) []unix.SockFilter {
	q.changed, q.due = now, 0
	var keys []uint64
	for i := range q.clients {
		if c := &q.clients[i]; c.until > now {
			keys = append(keys, c.client)
			q.dueAt(c.until)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return dropSYNOf(keys)
}

// took notes what became of the filter.
func (q *silence) took(on bool, now int64) {
	switch {
	case on:
		q.lasts = math.MaxInt64
	case q.on:
		q.lasts = now + silenceQueue
	}
	q.on = on
}

// The offsets of an IP header, as a socket's filter sees it: behind SKF_NET_OFF of linux/filter.h.
// Words of addresses are 4 bytes.
const (
	netHeader = 1<<32 - 0x100000

	from4, to4 = 12, 16 // RFC 791 section 3.1
	from6, to6 = 8, 24  // RFC 8200 section 3
)

// dropSYNOf is dropSYN for these clients only; but what comes from the very address that it goes to
// passes, as the node's own probes do.
func dropSYNOf(clients []uint64) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	)
	pass := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32}
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	// unlessSame goes on if one of the words of two addresses is another.
	unlessSame := func(from, to, words uint32) (code []unix.SockFilter) {
		for i := range words {
			left := 4 * (words - 1 - i) // instructions behind these, and pass
			code = append(code,
				unix.SockFilter{Code: load, K: netHeader + to + 4*i},
				unix.SockFilter{Code: unix.BPF_MISC | unix.BPF_TAX},
				unix.SockFilter{Code: load, K: netHeader + from + 4*i},
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_X, Jf: uint8(left + 1)},
			)
		}
		return append(code, pass)
	}
	four := append(unlessSame(from4, to4, 1), unix.SockFilter{Code: load, K: netHeader + from4})
	six := append(unlessSame(from6, to6, 4),
		unix.SockFilter{Code: load, K: netHeader + from6 + 4},
		unix.SockFilter{Code: unix.BPF_ST, K: 0}, // the second word of its /64
		unix.SockFilter{Code: load, K: netHeader + from6},
		unix.SockFilter{Code: unix.BPF_MISC | unix.BPF_TAX}, // the first
	)
	for _, key := range clients {
		if key>>32 == 0xffff { // as clientKey has it
			four = append(four, unix.SockFilter{Code: equal, K: uint32(key), Jf: 1}, drop)
			continue
		}
		six = append(six,
			unix.SockFilter{Code: equal, K: uint32(key >> 32), Jf: 4},
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_MEM, K: 0},
			unix.SockFilter{Code: equal, K: uint32(key), Jf: 1},
			drop,
			unix.SockFilter{Code: unix.BPF_MISC | unix.BPF_TXA},
		)
	}
	four, six = append(four, pass), append(six, pass)
	code := append([]unix.SockFilter{}, isSYN[:]...)
	code = append(code,
		unix.SockFilter{Code: equal, K: flagSYN, Jt: 1},
		pass,
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: netHeader},
		unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xf0},
		unix.SockFilter{Code: equal, K: 6 << 4, Jf: 1},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(four))},
	)
	return append(append(code, four...), six...)
}
