package loadgen

import (
	"bufio"
	"crypto/tls"
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
	// TLS: connections are of TLS 1.3, and ask for ServerName.
	TLS        bool
	ServerName string
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

// open makes a connection that has had its answer. Of one that is of TLS only the
// socket is kept: nothing is said on it any more.
func open(o HoldOptions, buf []byte) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", o.Target.String(), holdTimeout)
	if err != nil {
		return nil, err
	}
	over := c
	if o.TLS {
		config := ClientTLS(protocolHTTP1)
		config.ServerName = o.ServerName
		over = tls.Client(c, config)
	}
	if err := exchange(over, o.Request, buf); err != nil {
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
	if err := readWhole(c, buf); err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

// readWhole reads one answer.
func readWhole(c net.Conn, buf []byte) error {
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
			return nil
		}
		if n == len(buf) {
			return fmt.Errorf("%w: an answer of more than %d bytes", errMalformed, len(buf))
		}
	}
}
