//go:build linux

package evloop

import (
	"math"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// stillSince is when the clients of these tests have moved last.
const stillSince = int64(100 * time.Second)

// stillDown is a client that waits for whatever change makes of it.
func stillDown(change func(*downstream)) *downstream {
	listener := (&node{}).listener()
	listener.Timeouts = table.ListenerTimeouts{RequestHead: 3 * time.Second, Idle: 50 * time.Second, StreamIdle: 7 * time.Second}
	d := &downstream{
		link: &link{}, born: stillSince - int64(20*time.Second), since: stillSince,
		socket: &socket{listener: &listener},
	}
	if change != nil {
		change(d)
	}
	return d
}

// TestAClientHasTheTimeOfWhatItWaitsFor, from when that began.
func TestAClientHasTheTimeOfWhatItWaitsFor(t *testing.T) {
	var b buffers
	const later = int64(5 * time.Second)
	for name, c := range map[string]struct {
		change func(*downstream)
		want   time.Duration // after it has moved last
	}{
		"nothing":               {nil, 50 * time.Second},
		"the rest of a head":    {func(d *downstream) { d.headStart = stillSince + later }, 8 * time.Second},
		"a handshake":           {func(d *downstream) { d.phase = phaseShake }, 3 * time.Second},
		"a hello":               {func(d *downstream) { d.phase = phaseHello }, 3 * time.Second},
		"a PROXY header":        {func(d *downstream) { d.phase, d.socket.listener.ProxyProtocol = phaseProxy, table.ProxyRequired }, 3 * time.Second},
		"a PROXY header or not": {func(d *downstream) { d.phase, d.socket.listener.ProxyProtocol = phaseProxy, table.ProxyOptional }, 50 * time.Second},
		"the rest of a PROXY header": {func(d *downstream) {
			d.phase, d.socket.listener.ProxyProtocol = phaseProxy, table.ProxyOptional
			d.link.in.add(&b, []byte("PRO"))
		}, 3 * time.Second},
		"an answer that it reads":      {func(d *downstream) { d.link.out.add(&b, []byte("answer")) }, 7 * time.Second},
		"its last answer":              {func(d *downstream) { d.closing = true }, 7 * time.Second},
		"its end":                      {func(d *downstream) { d.closing, d.answered = true, true }, 2 * time.Second},
		"its end, and sends":           {func(d *downstream) { d.phase = phaseLinger }, 2 * time.Second},
		"its end, and sends too much":  {func(d *downstream) { d.phase, d.link.muted = phaseLinger, true }, 0},
		"a listener that left later":   {func(d *downstream) { d.socket.removed, d.socket.removedAt = true, stillSince+later }, 6 * time.Second},
		"a listener that left earlier": {func(d *downstream) { d.socket.removed, d.socket.removedAt = true, stillSince-later }, time.Second},
	} {
		d := stillDown(c.change)
		if got := time.Duration(d.deadline() - stillSince); got != c.want {
			t.Errorf("a client that waits for %s has %s, want %s", name, got, c.want)
		}
	}
}

// TestAClientOfHTTP2HasTheShortestOfItsTimes: of one that has asked for something the node asks
// in turn whether it is there.
func TestAClientOfHTTP2HasTheShortestOfItsTimes(t *testing.T) {
	const never, second = math.MaxInt64 - stillSince, int64(time.Second)
	ping := table.Ping{Interval: 30 * time.Second, Timeout: 4 * time.Second}
	for name, c := range map[string]struct {
		change func(*downstream, *mux)
		want   int64 // after it has moved last
	}{
		"nothing":                 {func(*downstream, *mux) {}, 50 * second},
		"half a frame":            {func(d *downstream, _ *mux) { d.headStart = stillSince + second }, 4 * second},
		"an answer":               {func(_ *downstream, m *mux) { m.open = 1 }, never},
		"an answer, with PING":    {func(d *downstream, m *mux) { m.open, d.socket.listener.Ping = 1, ping }, 31 * second},
		"the answer to a PING":    {func(d *downstream, m *mux) { m.open, d.socket.listener.Ping, m.pinged = 1, ping, stillSince+9*second }, 13 * second},
		"nothing, during a pause": {func(_ *downstream, m *mux) { m.paused = stillSince + 2*second }, 2 * second},
		"the end of its lifetime": {func(d *downstream, _ *mux) { d.socket.listener.Timeouts.MaxLifetime = 30 * time.Second }, 7 * second}, // by chance a tenth earlier
		"the second GOAWAY": {func(d *downstream, m *mux) {
			d.socket.listener.Timeouts.MaxLifetime, m.leaveBy = 30*time.Second, stillSince+8*second
		}, 8 * second},
		"its last answer, after both": {func(d *downstream, m *mux) {
			d.socket.listener.Timeouts.MaxLifetime, m.leaveBy, m.left, m.open = 30*time.Second, stillSince+8*second, true, 1
		}, never},
		"an answer that it reads": {func(_ *downstream, m *mux) {
			m.open = 1
			m.subs.all = []*sub{nil, {touched: stillSince + 2*second}, {touched: stillSince + 1*second}}
		}, 8 * second},
	} {
		d := stillDown(func(d *downstream) {
			d.phase, d.mux = phaseMux, &mux{frames: frames{heard: stillSince + second}}
			c.change(d, d.mux)
		})
		if got := d.deadline() - stillSince; got != c.want {
			t.Errorf("a client that waits for %s has %s, want %s", name, time.Duration(got), time.Duration(c.want))
		}
	}
}

// TestALifetimeCountsFromTheBeginningOfAConnection, whenever it was used or its listener got the
// lifetime.
func TestALifetimeCountsFromTheBeginningOfAConnection(t *testing.T) {
	d := stillDown(func(d *downstream) { d.chance = math.MaxUint16 })
	if d.outlived(math.MaxInt64) {
		t.Error("it is over though the listener says nothing of one")
	}
	d.socket.listener.Timeouts.MaxLifetime = 30 * time.Second
	over := d.born + int64(33*time.Second) // by chance a tenth later
	if early, late := d.outlived(over-int64(time.Millisecond)), d.outlived(over); early || !late {
		t.Errorf("it is over %s before its time: %t, and then: %t", time.Millisecond, early, late)
	}
}
