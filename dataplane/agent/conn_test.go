//go:build linux

package agent

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// said is a message as it goes over the socket.
func said(f *testing.F, m proto.Message) []byte {
	f.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) //nolint:gosec // short
}

// spoken is an end to which the other one says b, and is gone.
func spoken(t *testing.T, b []byte) *conn {
	t.Helper()
	c, peer, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	if _, err := peer.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := peer.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	return c
}

// FuzzReceive: what an agent says ends in an error that says whose fault it is, and what
// is understood before is what was said.
func FuzzReceive(f *testing.F) {
	lease := said(f, &fleetv1.FromAgent{Message: &fleetv1.FromAgent_Leases{Leases: &fleetv1.AgentLeases{Leases: []*fleetv1.AgentLease{{Address: "127.0.0.1", Until: 1 << 40}}}}})
	socket := said(f, &fleetv1.FromAgent{Message: &fleetv1.FromAgent_Socket{Socket: &fleetv1.AgentSocket{Number: 1, Address: "127.0.0.1:80"}}})
	f.Add(lease)
	f.Add(append(lease, socket...))
	f.Add(append(socket, lease[:len(lease)-1]...))
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 16<<10 {
			return
		}
		c := spoken(t, b)
		at := 0
		for {
			var m, again fleetv1.FromAgent
			fd, err := c.receive(&m)
			if fd != noFD {
				t.Fatal("a descriptor that nobody sent")
			}
			if err != nil {
				if !errors.Is(err, errGone) && !errors.Is(err, errMessage) {
					t.Error(err)
				}
				if errors.Is(err, errGone) && len(b) >= at+4 && len(b) >= at+4+int(binary.BigEndian.Uint32(b[at:])) {
					t.Errorf("%d of %d bytes were read", at, len(b))
				}
				return
			}
			size := int(binary.BigEndian.Uint32(b[at:]))
			if err := proto.Unmarshal(b[at+4:at+4+size], &again); err != nil || !proto.Equal(&m, &again) {
				t.Fatalf("%v of %v, %v", &m, &again, err)
			}
			at += 4 + size
		}
	})
}
