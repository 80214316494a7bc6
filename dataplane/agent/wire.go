package agent

import (
	"errors"
	"time"
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
	// maxMessage bounds what one side makes the other hold: 1,024 virtual IPs with
	// 1,024 names of nodes each would not fit; a thousandth of that does.
	maxMessage = 4 << 20

	// pulseEvery is between two signs of life.
	pulseEvery = 50 * time.Millisecond
	// silence is how long a main process may give none: then it is stopped, or
	// hangs, and holds nothing.
	silence = 250 * time.Millisecond
	// The byte of a pulse: the loops turn; and the node would serve a client.
	pulseAlive, pulseHealthy = 0, 1
)

var (
	// errGone says that the other process has ended.
	errGone = errors.New("vip-agent: the other process is gone")
	// errMessage is what the other process may not send.
	errMessage = errors.New("vip-agent: bad message")
)
