package handover

import (
	"errors"
	"fmt"
)

// Protocol is the text of Hello. A build with another conversation has another
// one.
const Protocol = "proxyfleet handover 1"

const (
	// MaxText bounds the text of a message. A State is some hundred bytes.
	MaxText = 8 << 10
	// MaxFDs bounds the descriptors of a message; the kernel takes 253.
	MaxFDs = 64
	// MaxSockets bounds what one conversation hands over: a hundred listeners on
	// the largest machine that we know of.
	MaxSockets = 32 << 10
)

// Kind is what a message says.
type Kind uint8

// The kinds, in the order of the conversation as far as they are of its first form.
const (
	Hello Kind = 1 + iota
	Socket
	Admin
	State
	Warm
	Go
	Ready
	Done
	Settled
	Failed
	// Unclaimed comes before Ready, and only where its text would be too long: so a
	// build that does not know it is a peer for all but those who need it.
	Unclaimed
	lastKind = Unclaimed
)

var kindNames = [...]string{"", "hello", "socket", "admin", "state", "warm", "go", "ready", "done", "settled", "failed", "unclaimed"}

func (k Kind) String() string {
	if k < Hello || k > lastKind {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// carries says how many descriptors a message of the kind may have.
func (k Kind) carries() (least, most int) {
	switch k {
	case Socket:
		return 1, MaxFDs
	case Admin:
		return 1, 1
	default:
		return 0, 0
	}
}

// Message is one thing said.
type Message struct {
	Kind Kind
	Text string
	FDs  []int
}

// Kinds of errors.
var (
	// ErrMessage is what the peer may not send.
	ErrMessage = errors.New("hand-over: bad message")
	// ErrPeer is a failure that the peer told of.
	ErrPeer = errors.New("the other process")
	// ErrGone says that the peer ended, or closed the conversation.
	ErrGone = errors.New("hand-over: the other process is gone")
)

// check refuses what is no message.
func (m *Message) check() error {
	if m.Kind < Hello || m.Kind > lastKind {
		return fmt.Errorf("%w: %s", ErrMessage, m.Kind)
	}
	if len(m.Text) > MaxText {
		return fmt.Errorf("%w: %s: %d bytes of text, expected at most %d", ErrMessage, m.Kind, len(m.Text), MaxText)
	}
	if least, most := m.Kind.carries(); len(m.FDs) < least || len(m.FDs) > most {
		return fmt.Errorf("%w: %s: %d descriptors, expected %d to %d", ErrMessage, m.Kind, len(m.FDs), least, most)
	}
	return nil
}
