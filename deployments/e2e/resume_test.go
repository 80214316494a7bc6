package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

const (
	resumeClients = 50
	// resumeVisits are those of each client, always to another node than before.
	resumeVisits = 25
	// resumeLeast of a hundred sessions must be resumed.
	resumeLeast = 99
	// ticketRecord is where etcd has the keys, and ticketsAbout what they are sealed for.
	ticketRecord = "/proxyfleet/v1/tickets"
	ticketsAbout = "proxyfleet session ticket keys"
	// ticketLife is how old keys get before they are rotated.
	ticketLife = 12 * time.Hour
)

// TestNinetyNineOfAHundredSessionsAreResumedOnAnotherNode has clients of both
// versions go from node to node, while the keys are rotated and a node starts anew.
func TestNinetyNineOfAHundredSessionsAreResumedOnAnotherNode(t *testing.T) {
	t.Parallel()
	etcd := fleettest.NewEtcd(t)
	f := fleettest.New(t, fleettest.Options{Nodes: 3, EtcdEndpoints: []string{etcd.Endpoint}})
	root := certificatetest.Root(t, "root")
	f.Apply(httpsListener + certificateDocument(t, "site", root.Issue(t, certificatetest.Options{Names: []string{"shop.test"}})) + pingRoute + "one}}\n")
	f.WaitNodes()
	keysInForce(t, f, ticketKeysOf(t, f, etcd).GetRevision())
	clients := make([]*resumer, resumeClients)
	for i := range clients {
		clients[i] = newResumer(root, i)
	}
	for visit := range resumeVisits {
		switch visit {
		case resumeVisits / 3:
			rotateTicketKeys(t, f, etcd)
		case resumeVisits * 2 / 3:
			f.Nodes[1].Kill()
			f.StartNode(2)
			f.WaitNodes()
			keysInForce(t, f, ticketKeysOf(t, f, etcd).GetRevision())
		}
		var wg sync.WaitGroup
		for i, c := range clients {
			wg.Go(func() { c.visit(t, f.Nodes[(i+visit)%len(f.Nodes)]) })
		}
		wg.Wait()
		if t.Failed() {
			return
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var again, resumed int64
		for _, c := range clients {
			if c.config.MaxVersion == version {
				again += resumeVisits - 1
				resumed += c.resumed.Load()
			}
		}
		t.Logf("%s: %d of %d sessions were resumed on another node", tls.VersionName(version), resumed, again)
		if resumed*100 < again*resumeLeast {
			t.Errorf("%s: %d of %d sessions were resumed, expected %d of a hundred", tls.VersionName(version), resumed, again, resumeLeast)
		}
	}
}

// resumer is a client that keeps one session.
type resumer struct {
	config  *tls.Config
	resumed atomic.Int64
}

func newResumer(root *certificatetest.Pair, number int) *resumer {
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	version := uint16(tls.VersionTLS12 + number%2)
	return &resumer{config: &tls.Config{
		RootCAs: pool, ServerName: "shop.test", MinVersion: version, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(1), // by the server's name: of all nodes
	}}
}

// visit asks a node once, by a connection of its own.
func (r *resumer) visit(t *testing.T, n *fleettest.Node) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", n.Address+":8443", r.config)
	if err != nil {
		t.Errorf("%s: %v", n.ID, err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, "GET /ping HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
	if answer, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		t.Errorf("%s: %.40q, %v", n.ID, answer, err)
	}
	if c.ConnectionState().DidResume {
		r.resumed.Add(1)
	}
}

// keysInForce waits until every node has said that it uses the keys of a revision.
func keysInForce(t *testing.T, f *fleettest.Fleet, revision uint64) {
	t.Helper()
	said := fmt.Sprintf("session-ticket keys: in force\" revision=%d", revision)
	for _, n := range f.Nodes {
		fleettest.Wait(t, 30*time.Second, n.ID+" to use the keys of revision "+fmt.Sprint(revision), func() bool {
			return strings.Contains(strings.ReplaceAll(n.Log(), "node="+n.ID+" ", ""), said)
		})
	}
}

// rotateTicketKeys makes the keys as old as they get, so that the control plane
// rotates them, and waits until all nodes have the new ones.
func rotateTicketKeys(t *testing.T, f *fleettest.Fleet, etcd *fleettest.Etcd) {
	t.Helper()
	before := ticketKeysOf(t, f, etcd)
	aged := proto.CloneOf(before)
	aged.RotatedAtUnixMs = time.Now().Add(-ticketLife).UnixMilli()
	plain, err := proto.Marshal(aged)
	if err != nil {
		t.Fatal(err)
	}
	key := fleetSealKey(t, f)
	value, err := proto.Marshal(&fleetv1.Envelope{Sealed: key.Seal(plain, []byte(ticketsAbout)), KeyId: key.ID(), WrittenAtUnixMs: time.Now().UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
	askEtcd(t, etcd, "put", map[string][]byte{"key": []byte(ticketRecord), "value": value}, &struct{}{})
	after := before
	fleettest.Wait(t, 30*time.Second, "new keys", func() bool {
		after = ticketKeysOf(t, f, etcd)
		return after.GetRevision() > before.GetRevision()
	})
	if !bytes.Equal(after.GetKeys()[0], before.GetKeys()[1]) || !bytes.Equal(after.GetKeys()[2], before.GetKeys()[0]) {
		t.Error("the keys were replaced rather than rotated")
	}
	keysInForce(t, f, after.GetRevision())
}

func ticketKeysOf(t *testing.T, f *fleettest.Fleet, etcd *fleettest.Etcd) *fleetv1.TicketKeyRecord {
	t.Helper()
	var got struct{ Kvs []struct{ Value []byte } }
	askEtcd(t, etcd, "range", map[string][]byte{"key": []byte(ticketRecord)}, &got)
	if len(got.Kvs) != 1 {
		t.Fatalf("etcd has %d records of session-ticket keys", len(got.Kvs))
	}
	envelope, record := &fleetv1.Envelope{}, &fleetv1.TicketKeyRecord{}
	if err := proto.Unmarshal(got.Kvs[0].Value, envelope); err != nil {
		t.Fatal(err)
	}
	plain, err := fleetSealKey(t, f).Open(envelope.GetSealed(), []byte(ticketsAbout))
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(plain, record); err != nil {
		t.Fatal(err)
	}
	return record
}

func fleetSealKey(t *testing.T, f *fleettest.Fleet) *seal.Key {
	t.Helper()
	key, err := seal.ReadFile(filepath.Join(f.Dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// askEtcd calls etcd's own JSON interface.
func askEtcd(t *testing.T, etcd *fleettest.Etcd, what string, question, answer any) {
	t.Helper()
	text, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(etcd.Endpoint+"/v3/kv/"+what, "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("etcd: %s: %d, %v", what, resp.StatusCode, err)
	}
}
