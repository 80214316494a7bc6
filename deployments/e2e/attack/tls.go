package attack

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// shakes is the series that counts how handshakes ended.
func shakes(result string) string {
	return `proxyfleet_tls_handshakes_total{result="` + result + `",side="client"}`
}

// Hello is a ClientHello.
func Hello() []byte {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		_ = tls.Client(ours, &tls.Config{ServerName: Host, MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}).Handshake()
		ours.Close()
	}()
	var b bytes.Buffer
	_ = theirs.SetReadDeadline(time.Now().Add(time.Second))
	head := make([]byte, 5)
	if _, err := io.ReadFull(theirs, head); err != nil {
		return nil
	}
	b.Write(head)
	_, _ = io.CopyN(&b, theirs, int64(head[3])<<8|int64(head[4]))
	return b.Bytes()
}

// TLS are attacks on the handshake; what they are dialled by has none.
func TLS() []*Attack {
	hello := Hello()
	warning := []byte{21, 3, 3, 0, 2, 1, 90} // user_canceled, of level warning
	ccs := []byte{20, 3, 3, 0, 1, 1}
	return []*Attack{
		{Name: "handshakes", Shake: shakeAndLeave, Want: Want{Work: true, Counter: shakes("full")}},
		{
			Name: "hellos and away", Want: Want{Work: true, Counter: shakes("peer_gone")},
			Shake: func(_ context.Context, c net.Conn) (int, error) { _, err := c.Write(hello); return 1, ignoreReset(err) },
		},
		{Name: "alerts before the hello", Piece: every(1, warning), Want: Want{Ends: true, Counter: shakes("not_tls")}},
		{Name: "alerts in the handshake", Open: hello, Piece: every(1, warning), Want: Want{Ends: true, Counter: shakes("malformed")}},
		{Name: "change_cipher_spec without end", Open: hello, Piece: every(1, ccs), Want: Want{Ends: true, Counter: shakes("malformed")}},
		{Name: "empty records", Open: hello, Piece: every(1, []byte{22, 3, 3, 0, 0}), Want: Want{Ends: true, Counter: shakes("malformed")}},
		{
			Name: "hellos that are too large", Open: []byte{22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff}, Piece: every(1, make([]byte, 1000)),
			Want: Want{Ends: true, Counter: shakes("hello_too_large")},
		},
		{Name: "requests without TLS", Piece: every(1, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")), Want: Want{Ends: true, Counter: shakes("plain_http")}},
	}
}

// shakeAndLeave makes a full handshake.
func shakeAndLeave(ctx context.Context, c net.Conn) (int, error) {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return 1, tls.Client(c, &tls.Config{ServerName: Host, MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}).HandshakeContext(ctx)
}

func ignoreReset(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return nil
	}
	return err
}

// SlowTLS are clients that do not go on with their handshake. Their listener must
// have short timeouts.
func SlowTLS() []*Attack {
	hello := Hello()
	return []*Attack{
		{Name: "half a hello", Open: hello[:len(hello)/2], Every: time.Hour, Piece: every(1, nil), Want: Want{Ends: true, Counter: shakes("timeout")}},
		{Name: "a hello byte by byte", Every: 100 * time.Millisecond, Piece: byteByByte(hello), Want: Want{Ends: true, Counter: shakes("timeout")}},
		{Name: "nothing after the hello", Open: hello, Every: time.Hour, Piece: every(1, nil), Want: Want{Ends: true, Counter: shakes("timeout")}},
	}
}

func byteByByte(all []byte) func([]byte, int) ([]byte, int) {
	return func(dst []byte, n int) ([]byte, int) {
		if n < len(all) {
			dst = append(dst, all[n])
		}
		return dst, 1
	}
}

// Aside is a flood whose target is somebody else: what others see of it is what the attacker itself
// does to the machine that they share. Its target ends each connection after so many bytes.
func Aside() *Attack {
	return &Attack{
		Name: "PING, to somebody else", HTTP2: true, Open: preface(),
		Piece: every(1, frame(nil, framePing, 0, 0, make([]byte, 8)...)),
		Want:  Want{Ends: true, Code: NoCode},
	}
}

// AsideBytes are as many as the node takes of such a flood.
const AsideBytes = 4 << 10
