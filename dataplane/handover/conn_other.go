//go:build !linux

package handover

import (
	"errors"
	"os"
	"time"
)

var errSystem = errors.New("hand-over: nodes run on linux")

// Conn does not exist on this system.
type Conn struct{}

// Pair says that there is none.
func Pair() (*Conn, *os.File, error) { return nil, nil, errSystem }

// Open says that there is none.
func Open(int) (*Conn, error) { return nil, errSystem }

// Close is never called.
func (*Conn) Close() error { return nil }

// SetDeadline is never called.
func (*Conn) SetDeadline(time.Time) error { return errSystem }

// Send is never called.
func (*Conn) Send(Message) error { return errSystem }

// Receive is never called.
func (*Conn) Receive(...Kind) (Message, error) { return Message{}, errSystem }

// ReceiveAny is never called.
func (*Conn) ReceiveAny() (Message, error) { return Message{}, errSystem }
