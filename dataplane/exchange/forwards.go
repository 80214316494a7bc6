package exchange

import (
	"strconv"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// This file heeds Max-Forwards, which says how often a TRACE or an OPTIONS may still be
// forwarded (RFC 9110 section 7.6.2). Of other methods it says nothing, and goes up as it
// came.

const (
	nameMaxForwards = "max-forwards"
	// mostForwards is the highest number that goes up: no chain of proxies is longer.
	mostForwards = 1<<16 - 1
)

// countForwards tells whether the request may go up. One that may not is answered as its last
// recipient would: OPTIONS by 200, which says nothing of optional features, since we have
// none. TRACE by 501, as a method that is not implemented (RFC 9110 section 9.1): to send a
// request back shows scripts the credentials that its client, or a proxy on the way, has
// added. A number that is none, or that comes twice, is refused.
func (x *Exchange) countForwards() (f Failure, may bool) {
	h := x.head
	if h.Method != message.MethodTrace && h.Method != message.MethodOptions {
		return Failure{}, true
	}
	for i := range h.Fields {
		if !message.EqualFold(h.Bytes(h.Fields[i].Name), nameMaxForwards) {
			continue
		}
		n, ok := parseForwards(h.Bytes(h.Fields[i].Value))
		if !ok || x.forwardsAt > 0 {
			return Failure{Reason: ReasonMalformedRequest, Detail: "max_forwards"}, false
		}
		x.forwards, x.forwardsAt = n, int32(i+1)
	}
	switch {
	case x.forwardsAt == 0 || x.forwards > 0:
		return Failure{}, true
	case h.Method == message.MethodTrace:
		return Failure{Reason: ReasonMaxForwards, Status: 501}, false
	}
	return Failure{Reason: ReasonMaxForwards}, false
}

// parseForwards reads 1*DIGIT. A number above mostForwards is taken for one more than that.
func parseForwards(value []byte) (n uint32, ok bool) {
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+uint32(c-'0'), mostForwards+1)
	}
	return n, len(value) > 0
}

// appendForwards appends what goes up in place of the number that came.
func (x *Exchange) appendForwards(dst []byte) []byte {
	return strconv.AppendUint(dst, uint64(x.forwards-1), 10)
}
