package agent

import (
	"encoding/binary"
	"errors"
	"time"
)

// What an agent says of the mode and the health that its main process told it, which
// knows more of each.
const (
	HasResigned       = "it has resigned"
	HandsOver         = "it hands over"
	FailsItsSelfProbe = "its self-probe fails"
)

// The descriptors that an agent is started with.
const (
	// MainFD is its end of the conversation with the main process.
	MainFD = 3
	// PulseFD is where the main process's signs of life are read.
	PulseFD = 4
)

const (
	// noFD says that a message has no descriptor.
	noFD = -1
	// maxMessage bounds what one side makes the other hold: 1,024 virtual IPs that name
	// 1,024 nodes each by 50 letters fit; half as many, if they name a preference as well.
	maxMessage = 64 << 20

	// pulseEvery is between two signs of life.
	pulseEvery = 50 * time.Millisecond
	// silence is how long a main process may give none: then it is stopped, or
	// hangs, and holds nothing.
	silence = 250 * time.Millisecond
	// starvedFor is how long it may give none while it does not get the processor
	// time that it asks for: moving its virtual IPs costs its clients their
	// connections, and on a machine that is busy for a moment wins nothing. lookEach
	// is between two looks at whether it does.
	starvedFor = time.Second
	lookEach   = 50 * time.Millisecond

	// A pulse is as long as this, and written at once: what it says, at its end, after
	// when it was written (nanoseconds of CLOCK_BOOTTIME, big endian).
	pulseSize = 16
	// What it says: the loops turn; and the node would serve a client.
	pulseAlive, pulseHealthy = 0, 1
)

// pulse is a sign of life.
type pulse struct {
	at      int64
	healthy bool
}

func (p pulse) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(p.at)) //nolint:gosec // a clock
	says := uint64(pulseAlive)
	if p.healthy {
		says = pulseHealthy
	}
	return binary.BigEndian.AppendUint64(b, says)
}

// decodePulse reads one of pulseSize bytes.
func decodePulse(b []byte) pulse {
	return pulse{
		at:      int64(binary.BigEndian.Uint64(b)), //nolint:gosec // a clock
		healthy: binary.BigEndian.Uint64(b[8:pulseSize]) == pulseHealthy,
	}
}

var (
	// errGone says that the other process has ended.
	errGone = errors.New("vip-agent: the other process is gone")
	// errMessage is what the other process may not send.
	errMessage = errors.New("vip-agent: bad message")
	// errTooLong is a message that the other would not read.
	errTooLong = errors.New("vip-agent: a message is too long")
)
