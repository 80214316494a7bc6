package http2

import (
	"encoding/binary"
	"math"
)

// The parameters of SETTINGS (RFC 9113 section 6.5.2).
const (
	settingHeaderTableSize      = 0x1
	settingEnablePush           = 0x2
	settingMaxConcurrentStreams = 0x3
	settingInitialWindowSize    = 0x4
	settingMaxFrameSize         = 0x5
	settingMaxHeaderListSize    = 0x6
	settingEnableConnect        = 0x8 // RFC 8441 section 3
	settingNoPriorities         = 0x9 // RFC 9218 section 2.1

	settingLen = 6

	// manySettings is how many parameters count as one frame in a flood: several
	// times what any peer sends. A frame has room for 2,730.
	manySettings = 64
)

// peerSettings is what the peer's SETTINGS say.
type peerSettings struct {
	streams         uint32 // that we may have open
	window          int32  // of a new stream
	maxFrame        int32
	extendedConnect bool
}

// defaultPeer is what holds before the peer's SETTINGS come. It may be sent to at
// once; a server that takes fewer streams refuses the others, so the number is
// kept low until it is known.
var defaultPeer = peerSettings{streams: DefaultStreams, window: initialWindow, maxFrame: MaxFrame}

// AppendPreface appends what each side sends first (RFC 9113 section 3.4): of a
// client the preface, then SETTINGS, and the window of the connection, which
// SETTINGS cannot say.
func (c *Conn) AppendPreface(dst []byte) []byte {
	o := &c.options
	if c.role == Client {
		dst = append(dst, Preface...)
	}
	start := len(dst)
	dst = appendFrame(dst, 0, frameSettings, 0, 0)
	if c.role == Client {
		dst = appendSetting(dst, settingEnablePush, 0)
	} else {
		dst = appendSetting(dst, settingMaxConcurrentStreams, uint32(o.Streams))
		if o.ExtendedConnect {
			dst = appendSetting(dst, settingEnableConnect, 1)
		}
	}
	dst = appendSetting(dst, settingInitialWindowSize, uint32(o.StreamWindow))
	dst = appendSetting(dst, settingMaxHeaderListSize, uint32(o.HeadBytes))
	dst = appendSetting(dst, settingNoPriorities, 1)
	putFrame(dst[start:], len(dst)-start-frameHeaderLen, frameSettings, 0, 0)
	c.unacked++
	if more := int32(o.ConnWindow) - c.recvWindow; more > 0 {
		dst = appendWindowUpdate(dst, 0, uint32(more))
		c.recvWindow += more
	}
	return dst
}

func appendSetting(dst []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, id), value)
}

// Ready tells whether the peer's first SETTINGS have come: what it does not take is
// known from then on.
func (c *Conn) Ready() bool { return c.phase == phaseOpen }

// PeerStreams is how many streams the peer, a server, takes at a time; with 0 it takes
// none for a while (RFC 9113 section 6.5.2).
func (c *Conn) PeerStreams() uint32 { return c.peer.streams }

// ExtendedConnect tells whether the peer, a server, takes RFC 8441.
func (c *Conn) ExtendedConnect() bool { return c.peer.extendedConnect }

// settingsFrame takes the peer's settings and acknowledges them.
func (c *Conn) settingsFrame(f *frame, payload []byte) Event {
	switch {
	case f.stream != 0:
		return c.fail(BadFrameStream)
	case f.has(flagAck) && len(payload) > 0, len(payload)%settingLen != 0:
		return c.fail(BadFrameLength)
	case f.has(flagAck):
		return c.settingsAck()
	}
	for n := 0; n <= len(payload); n += settingLen * manySettings {
		if !c.floods.spend(floodSettings, c.now) {
			return c.fail(SettingsFlood)
		}
	}
	for p := payload; len(p) > 0; p = p[settingLen:] {
		if reason := c.apply(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); reason != NoReason {
			return c.fail(reason)
		}
	}
	if c.phase == phaseSettings {
		c.phase = phaseOpen
		c.floods.refilled = c.now
	}
	c.out = appendFrame(c.out, 0, frameSettings, flagAck, 0)
	return Event{Kind: Settings}
}

// settingsAck makes our initial window count: the peer knows of it now, and not
// before (RFC 9113 section 6.5.3).
func (c *Conn) settingsAck() Event {
	if c.unacked == 0 {
		return c.noted(floodSettings)
	}
	c.unacked--
	delta := int32(c.options.StreamWindow) - c.recvInitial
	c.recvInitial += delta
	for i := range c.streams.slots {
		if s := &c.streams.slots[i]; s.id != 0 {
			s.recvWindow += delta
		}
	}
	return Event{Kind: Noted}
}

// apply takes one parameter. Unknown ones are ignored. The table size needs no
// attention, since our encoder has no table, and SETTINGS_MAX_HEADER_LIST_SIZE is
// advice that only the peer can judge.
func (c *Conn) apply(id uint16, value uint32) Reason {
	switch id {
	case settingEnablePush:
		if value > 1 || value == 1 && c.role == Client {
			return BadSetting
		}
	case settingMaxConcurrentStreams:
		c.peer.streams = value
	case settingInitialWindowSize:
		return c.applyWindow(value)
	case settingMaxFrameSize:
		if value < MaxFrame || value > 1<<24-1 {
			return BadSetting
		}
		c.peer.maxFrame = int32(value)
	case settingEnableConnect:
		// RFC 8441 section 3: it cannot be taken back.
		if value > 1 || value == 0 && c.peer.extendedConnect {
			return BadSetting
		}
		c.peer.extendedConnect = value == 1 && c.role == Client
	case settingNoPriorities:
		if value > 1 {
			return BadSetting
		}
	}
	return NoReason
}

// applyWindow changes the window of every stream by the difference (RFC 9113
// section 6.9.2). Windows may become negative.
func (c *Conn) applyWindow(value uint32) Reason {
	if value > maxWindow {
		return BadWindowSetting
	}
	delta := int64(value) - int64(c.peer.window)
	for i := range c.streams.slots {
		s := &c.streams.slots[i]
		if s.id == 0 {
			continue
		}
		window := int64(s.sendWindow) + delta
		if window > maxWindow || window < math.MinInt32 {
			return BadWindowSetting
		}
		s.sendWindow = int32(window)
	}
	c.peer.window = int32(value)
	return NoReason
}
