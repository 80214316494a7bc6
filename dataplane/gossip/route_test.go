package gossip

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

func TestANodeBeginsWhereNoNameIsResolved(t *testing.T) {
	silent, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	before := net.DefaultResolver
	defer func() { net.DefaultResolver = before }()
	asking, end := context.WithCancel(t.Context())
	defer end() // what still waits for an answer
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if err := asking.Err(); err != nil {
			return nil, err
		}
		conn, err := new(net.Dialer).DialContext(ctx, "udp", silent.LocalAddr().String())
		if err == nil {
			context.AfterFunc(asking, func() { conn.Close() })
		}
		return conn, err
	}}
	c := Config{NodeID: "a", Address: ":7946", Insecure: true}
	for i := range 9 {
		c.Join = append(c.Join, fmt.Sprintf("node-%d.example:7946", i))
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	ip, err := g.advertised()
	// An agent that says nothing for 5 s is killed.
	if took := time.Since(begin); err != nil || ip == nil || took > 4*time.Second {
		t.Errorf("%s, %v, after %s", ip, err, took)
	}
}
