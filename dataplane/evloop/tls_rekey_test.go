//go:build linux

package evloop

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// rekeyer writes the records of a TLS 1.3 client by itself: crypto/tls never asks
// for a new key.
type rekeyer struct {
	t      *testing.T
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

// expand is HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
func (r *rekeyer) expand(label string, size int) []byte {
	label = "tls13 " + label
	info := append([]byte{byte(size >> 8), byte(size), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, r.secret, string(append(info, 0)), size)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// use makes a secret the one in use.
func (r *rekeyer) use(secret []byte) {
	r.secret, r.seq = secret, 0
	block, err := aes.NewCipher(r.expand("key", 16))
	if err != nil {
		r.t.Fatal(err)
	}
	if r.aead, err = cipher.NewGCM(block); err != nil {
		r.t.Fatal(err)
	}
	r.iv = r.expand("iv", 12)
}

// record appends one record.
func (r *rekeyer) record(dst []byte, kind byte, text string) []byte {
	inner := append([]byte(text), kind)
	header := []byte{23, 3, 3, 0, byte(len(inner) + r.aead.Overhead())}
	nonce := bytes.Clone(r.iv)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^r.seq)
	r.seq++
	return r.aead.Seal(append(dst, header...), nonce, inner, header)
}

// TestAPeerThatAsksForKeysAndReadsNoneEnds sends a body that the endpoint takes,
// and after each byte of it asks the node for a new key.
func TestAPeerThatAsksForKeysAndReadsNoneEnds(t *testing.T) {
	n := startTLS(t, 1)
	small := func(l *table.Listener) { l.SendBuffer = 16 << 10 } // else the kernel takes megabytes of it
	n.serve(small, forwardAll(newUpstream("u", rawServer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))))
	var keys strings.Builder
	config := n.config()
	config.KeyLogWriter = &keys
	under := n.raw()
	_ = under.(*net.TCPConn).SetReadBuffer(4096)
	conn := tls.Client(under, config)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if conn.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("without AES in hardware other ciphers are agreed on")
	}
	_, log, _ := strings.Cut(keys.String(), "CLIENT_TRAFFIC_SECRET_0 ")
	var hello, secret string
	if _, err := fmt.Sscan(log, &hello, &secret); err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	r := &rekeyer{t: t}
	r.use(raw)
	wire := r.record(nil, 23, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10000000\r\n\r\n")
	most := 0
	for asked := 0; asked < 200_000; {
		if _, err := under.Write(wire); err != nil {
			n.handshakes(secure.ResultBadRecord, 1)
			return
		}
		most = max(most, int(n.engine.BufferBytes()))
		for wire = wire[:0]; len(wire) < 16<<10; asked++ {
			wire = r.record(wire, 23, "x")
			wire = r.record(wire, 22, "\x18\x00\x00\x01\x01") // update_requested (RFC 8446 section 4.6.3)
			r.use(r.expand("traffic upd", sha256.Size))
		}
	}
	t.Errorf("it may go on for ever, and %d bytes wait for it", most)
}
