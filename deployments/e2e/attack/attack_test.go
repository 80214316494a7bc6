package attack

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// resetByItsEnd is a connection that its peer resets as it is closed, which the one who reads hears first:
// with TLS a last word goes out before the end.
type resetByItsEnd struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *resetByItsEnd) Read([]byte) (int, error) {
	<-c.closed
	return 0, syscall.ECONNRESET
}

func (c *resetByItsEnd) Write(p []byte) (int, error) { return len(p), nil }

func (c *resetByItsEnd) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *resetByItsEnd) SetReadDeadline(time.Time) error  { return nil }
func (c *resetByItsEnd) SetWriteDeadline(time.Time) error { return nil }

// TestAResetBehindOurEndRefusesNobody: it is for what the target had not read.
func TestAResetBehindOurEndRefusesNobody(t *testing.T) {
	dial := func(context.Context) (net.Conn, error) { return &resetByItsEnd{closed: make(chan struct{})}, nil }
	for _, a := range HTTP1() {
		if a.Want.Ends || a.Deaf {
			continue
		}
		o, err := a.Run(t.Context(), Options{Dial: dial, Frames: 100, Workers: 1})
		if err != nil || o.Connections != 1 || o.Refused != 0 || o.Ended != 0 {
			t.Errorf("%s: %+v, %v", a.Name, o, err)
		}
	}
}
