package loadgen

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// HoldOptions say what is held.
type HoldOptions struct {
	Target netip.AddrPort
	// Request is sent once on each connection.
	Request []byte
	// Control is read for commands, Out gets what they ask for.
	Control io.Reader
	Out     io.Writer
}

// holdTimeout is for one connection and its request.
const holdTimeout = 10 * time.Second

// RunHold holds as many connections as the last line of o.Control says, each of
// which has had one answer, until o.Control ends. The same number is written when
// they are there.
func RunHold(o HoldOptions) error {
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	buf := make([]byte, readAnswer)
	lines := bufio.NewScanner(o.Control)
	for lines.Scan() {
		want, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
		if err != nil || want < 0 || want > maxConnections {
			return fmt.Errorf("hold: command %.40q", lines.Text())
		}
		for len(held) < want {
			c, err := open(o, buf)
			if err != nil {
				return fmt.Errorf("hold: connection %d: %w", len(held)+1, err)
			}
			held = append(held, c)
		}
		if _, err := fmt.Fprintln(o.Out, len(held)); err != nil {
			return err
		}
	}
	return lines.Err()
}

// readAnswer is more than an answer.
const readAnswer = 64 << 10

func open(o HoldOptions, buf []byte) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", o.Target.String(), holdTimeout)
	if err != nil {
		return nil, err
	}
	if err := exchange(c, o.Request, buf); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func exchange(c net.Conn, request, buf []byte) error {
	if err := c.SetDeadline(time.Now().Add(holdTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	for n := 0; ; {
		m, err := c.Read(buf[n:])
		if err != nil {
			return err
		}
		n += m
		length, err := answerHead(buf[:n])
		if err != nil {
			return err
		}
		if length > 0 && n >= length {
			return c.SetDeadline(time.Time{})
		}
		if n == len(buf) {
			return fmt.Errorf("%w: an answer of more than %d bytes", errMalformed, len(buf))
		}
	}
}
