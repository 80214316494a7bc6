package secure

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// side is one end of a pair: its connection, and the reports of its handshake, one where it
// waits and one when it is over.
type side struct {
	conn    *Conn
	reports chan struct{}
	resume  chan struct{}
}

func begin(c *Conn) *side {
	s := &side{conn: c, reports: make(chan struct{}, 1), resume: make(chan struct{})}
	go func() {
		c.Handshake(func() {
			s.reports <- struct{}{}
			<-s.resume
		})
		s.reports <- struct{}{}
	}()
	return s
}

// shakeHands moves the bytes of two handshakes, so many at a time, until both
// are over.
func shakeHands(t testing.TB, client, server *Conn, size int) {
	t.Helper()
	sides := [2]*side{begin(client), begin(server)}
	waiting := [2]bool{}
	var sent [2][]byte // by each, not yet taken by the other
	for over := 0; over < 2; {
		for i, s := range sides {
			if s == nil || waiting[i] {
				continue
			}
			select {
			case <-s.reports:
			case <-time.After(20 * time.Second):
				t.Fatal("no report")
			}
			sent[i] = append(sent[i], s.conn.TakeOut()...)
			if waiting[i] = s.conn.Waiting(); !waiting[i] {
				sides[i] = nil
				over++
			}
		}
		for i, s := range sides {
			from := 1 - i
			if s == nil || !waiting[i] {
				continue
			}
			n := min(size, len(sent[from]))
			if n == 0 && sides[from] == nil {
				s.conn.FeedEnd()
			} else if n == 0 {
				continue
			}
			s.conn.Feed(sent[from][:n])
			sent[from] = sent[from][n:]
			waiting[i] = false
			s.resume <- struct{}{}
		}
	}
	for i, c := range []*Conn{client, server} {
		if rest := sent[1-i]; len(rest) > 0 && c.Failed() == nil {
			c.Feed(rest)
		}
	}
}

// makePair makes two ends that trust each other.
func makePair(t testing.TB) (client, server *Conn) {
	t.Helper()
	ca := securetest.New(t)
	listener := securetest.Listener(ca.Certificate(securetest.Config{Names: []string{"shop.test"}}))
	tickets, err := NewTickets(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server = NewServer(listener, tickets, HTTP1).Conn()
	client = NewClient(&table.UpstreamTLS{ServerName: "shop.test", CAs: ca.Pool()}, "", HTTP1).Conn()
	return client, server
}

// pass opens at one end what was sealed at the other.
func pass(t testing.TB, to *Conn, wire, into []byte) []byte {
	t.Helper()
	to.Feed(wire)
	n, err := to.Open(into)
	if !errors.Is(err, ErrDrained) {
		t.Fatal(err)
	}
	return into[:n]
}

func TestAHandshakeMayBeFedInPieces(t *testing.T) {
	for _, size := range []int{1, 7, 1 << 20} {
		client, server := makePair(t)
		shakeHands(t, client, server, size)
		if client.Failed() != nil || server.Failed() != nil {
			t.Fatalf("pieces of %d: %v, %v", size, client.Failed(), server.Failed())
		}
		if got := server.State().NegotiatedProtocol; got != HTTP1 || server.Result() != ResultFull {
			t.Errorf("%q %s", got, server.Result())
		}
		buf := make([]byte, 64<<10)
		for _, c := range []*Conn{client, server} { // what was read ahead: session tickets
			if n, err := c.Open(buf); n != 0 || !errors.Is(err, ErrDrained) {
				t.Fatalf("pieces of %d: %d, %v", size, n, err)
			}
		}
		want := bytes.Repeat([]byte("proxyfleet"), 4000)
		wire, err := client.Seal(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		if got := pass(t, server, wire, buf); !bytes.Equal(got, want) {
			t.Errorf("%d bytes came", len(got))
		}
	}
}

func TestAnEndWithoutCloseNotifyIsToldApart(t *testing.T) {
	buf := make([]byte, 64<<10)
	for _, orderly := range []bool{true, false} {
		client, server := makePair(t)
		shakeHands(t, client, server, 1<<20)
		_, _ = client.Open(buf)
		if orderly {
			client.Feed(server.SealEnd(nil))
		}
		client.FeedEnd()
		if _, err := client.Open(buf); !errors.Is(err, io.EOF) || client.CloseNotified() != orderly {
			t.Errorf("orderly %v: %v, notified %v", orderly, err, client.CloseNotified())
		}
		if _, err := client.Open(buf); !errors.Is(err, io.EOF) {
			t.Errorf("again: %v", err)
		}
	}
}

func TestHandshakesThatFailSayWhy(t *testing.T) {
	ca := securetest.New(t)
	listener := securetest.Listener(ca.Certificate(securetest.Config{Names: []string{"shop.test"}}))
	modern := *listener
	modern.MinVersion = tls.VersionTLS13
	strict := *listener
	strict.ClientAuth = &table.ClientAuth{Required: true, CAs: ca.Pool()}
	for _, c := range []struct {
		name   string
		server *table.ListenerTLS
		client *tls.Config
		want   Result
	}{
		{"version", &modern, &tls.Config{MaxVersion: tls.VersionTLS12}, ResultVersion},
		{"cipher", listener, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}, ResultCipher},
		{"protocol", listener, &tls.Config{NextProtos: []string{"spdy/3"}}, ResultProtocol},
		{"no certificate", &strict, &tls.Config{MaxVersion: tls.VersionTLS12}, ResultPeerCertificate},
		{"no certificate, TLS 1.3", &strict, &tls.Config{}, ResultPeerCertificate},
		{"untrusted", listener, &tls.Config{RootCAs: securetest.New(t).Pool()}, ResultPeerAlert},
	} {
		tickets, err := NewTickets(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		config := c.client.Clone()
		config.ServerName = "shop.test"
		if config.RootCAs == nil {
			config.RootCAs = ca.Pool()
		}
		server := NewServer(c.server, tickets, HTTP1).Conn()
		shakeHands(t, newConn(false, config), server, 1<<20)
		if got := server.Result(); got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, got, server.Failed(), c.want)
		}
	}
}

func TestTicketKeysAreTheProcessesOwnUntilTheyAreSet(t *testing.T) {
	now := time.Now()
	tickets, err := NewTickets(now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := tickets.Step(now.Add(time.Duration(i) * ticketLife)); err != nil {
			t.Fatal(err)
		}
	}
	if len(tickets.own) != ticketKeys {
		t.Errorf("%d keys", len(tickets.own))
	}
	newest := tickets.own[0]
	if err := tickets.Step(now.Add(4*ticketLife + time.Hour)); err != nil || tickets.own[0] != newest {
		t.Error("a new key before its time")
	}
	tickets.Set([][32]byte{{1}})
	if err := tickets.Step(now.Add(100 * ticketLife)); err != nil || len(tickets.own) != 0 {
		t.Error("keys of our own in place of those that were set")
	}
	tickets.Set(nil)
	if err := tickets.Step(now); err != nil || len(tickets.own) != 1 {
		t.Error("no keys at all")
	}
}

// TestASessionIsResumedUntilItsKeyIsGone: the newest key seals, and one that is kept no more, or
// was the process's own before the fleet gave others, opens nothing.
func TestASessionIsResumedUntilItsKeyIsGone(t *testing.T) {
	ca := securetest.New(t)
	listener := securetest.Listener(ca.Certificate(securetest.Config{Names: []string{"shop.test"}}))
	begin := time.Now()
	step := func(t *testing.T, tickets *Tickets, lives int) {
		t.Helper()
		for i := range lives {
			if err := tickets.Step(begin.Add(time.Duration(i+1) * ticketLife)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		before int // keys that were made since the first, when the session is sealed
		change func(*testing.T, *Tickets)
		want   Result
	}{
		{"same key", 0, func(*testing.T, *Tickets) {}, ResultResumed},
		{"two keys later", 0, func(t *testing.T, own *Tickets) { step(t, own, 2) }, ResultResumed},
		{"three keys later", 0, func(t *testing.T, own *Tickets) { step(t, own, 3) }, ResultFull},
		{"sealed by the second, two keys later", 1, func(t *testing.T, own *Tickets) { step(t, own, 3) }, ResultResumed},
		{"keys of the fleet", 0, func(_ *testing.T, own *Tickets) { own.Set([][32]byte{{1}}) }, ResultFull},
		{"keys of the fleet, and none again", 0, func(t *testing.T, own *Tickets) {
			own.Set([][32]byte{{1}})
			own.Set(nil)
			step(t, own, 1)
		}, ResultFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			tickets, err := NewTickets(begin)
			if err != nil {
				t.Fatal(err)
			}
			step(t, tickets, c.before)
			server := NewServer(listener, tickets, HTTP1)
			config := &tls.Config{
				ServerName: "shop.test", RootCAs: ca.Pool(), NextProtos: []string{HTTP1},
				MaxVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(1),
			}
			for i, want := range []Result{ResultFull, c.want} {
				conn := server.Conn()
				if shakeHands(t, newConn(false, config), conn, 1<<20); conn.Result() != want {
					t.Errorf("handshake %d: %s (%v), want %s", i, conn.Result(), conn.Failed(), want)
				}
				if i == 0 {
					c.change(t, tickets)
				}
			}
		})
	}
}

// TestARecordCostsOneSmallAllocation: the 24 bytes that crypto/tls takes when it
// asks for bytes. Sealing takes none.
func TestARecordCostsOneSmallAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("crypto/tls pools its buffers")
	}
	client, server := makePair(t)
	shakeHands(t, client, server, 1<<20)
	buf := make([]byte, 64<<10)
	_, _ = client.Open(buf)
	_, _ = server.Open(buf)
	message := make([]byte, 1024)
	var wire []byte
	exchange := func() {
		for _, way := range [2][2]*Conn{{client, server}, {server, client}} {
			var err error
			if wire, err = way[0].Seal(wire[:0], message); err != nil {
				t.Fatal(err)
			}
			pass(t, way[1], wire, buf)
		}
	}
	for range 64 {
		exchange()
	}
	if got := testing.AllocsPerRun(1000, exchange); got > 2 {
		t.Errorf("%v allocations for two records", got)
	}
}

func TestOpenGivesAllThatWasFedHoweverItWasCut(t *testing.T) {
	client, server := makePair(t)
	shakeHands(t, client, server, 1<<20)
	buf := make([]byte, 64<<10)
	_, _ = server.Open(buf)
	var wire, want []byte
	for i := range 40 { // records of many sizes, empty ones too
		message := bytes.Repeat([]byte{byte(i)}, i*i*3)
		want = append(want, message...)
		var err error
		if wire, err = client.Seal(wire, message); err != nil {
			t.Fatal(err)
		}
	}
	wire = client.SealEnd(wire)
	var got []byte
	for i, size := 0, 1; i < len(wire); size = size*3%1009 + 1 {
		n := min(size, len(wire)-i)
		server.Feed(wire[i : i+n])
		m, err := server.Open(buf)
		got = append(got, buf[:m]...)
		if i += n; i < len(wire) && !errors.Is(err, ErrDrained) || i == len(wire) && !errors.Is(err, io.EOF) {
			t.Fatalf("at %d of %d: %v", i, len(wire), err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes", len(got), len(want))
	}
}

// TestAHandshakeThatWasGivenUpComputesNothing gives one up before it begins, and one that waits
// for the rest of a hello that is there when it goes on.
func TestAHandshakeThatWasGivenUpComputesNothing(t *testing.T) {
	client, server := makePair(t)
	hello := begin(client)
	<-hello.reports
	wire := client.TakeOut()
	for _, begun := range []bool{false, true} {
		var s *side
		if begun {
			_, server = makePair(t)
			server.Feed(wire[:1])
			s = begin(server)
			<-s.reports
			server.Feed(wire[1:])
			server.GiveUp()
			s.resume <- struct{}{}
		} else {
			server.Feed(wire)
			server.GiveUp()
			s = begin(server)
		}
		<-s.reports
		if out := server.TakeOut(); server.Waiting() || server.Result() != ResultAborted || len(out) > 5+2 {
			t.Errorf("begun: %v; waiting %v, %s, %d bytes to send", begun, server.Waiting(), server.Failed(), len(out))
		}
	}
	client.GiveUp()
	hello.resume <- struct{}{}
	<-hello.reports
}
