package store

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/seal"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func newSealKey(t testing.TB) *seal.Key {
	t.Helper()
	k, err := seal.Parse(seal.Generate())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func withSeal(k *seal.Key) func(*setup) { return func(s *setup) { s.options.Seal = k } }

// putCertificate adds a certificate to what is wanted.
func putCertificate(t testing.TB, s *Store, name string) (*certificatetest.Pair, Configuration, error) {
	t.Helper()
	p := certificatetest.SelfSigned(t, certificatetest.Options{})
	r := &fleetv1.Resource{
		Kind: proto.String(resource.Certificate), Name: proto.String(name),
		Spec: &fleetv1.Resource_Certificate{Certificate: &fleetv1.Certificate{Chain: proto.String(p.Chain), Key: proto.String(p.Key)}},
	}
	b, err := resource.Canonical(r)
	if err != nil {
		t.Fatal(err)
	}
	base := current(t, s)
	now, err := s.Commit(t.Context(), base, base.Tree.Set(resource.KeyOf(r), b), Meta{Author: "test"})
	return p, now, err
}

func TestCertificatesAreSealedAndReadBackAsTheyWere(t *testing.T) {
	prefix, k := newPrefix(t), newSealKey(t)
	s := open(t, prefix, withSeal(k))
	p, now, err := putCertificate(t, s, "site")
	if err != nil {
		t.Fatal(err)
	}
	all, err := client.Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range all.Kvs {
		if p.Leaks(kv.Value) {
			t.Errorf("%s holds the key in plain", kv.Key)
		}
	}
	replica := open(t, prefix, withSeal(k))
	c := current(t, replica)
	leaf, _ := c.Tree.Get(tree.Key{Kind: resource.Certificate, Name: "site"})
	if c.Root() != now.Root() || !p.Leaks(leaf.Bytes) {
		t.Error("another replica with the key reads something else")
	}
	if id, err := SealedUnder(t.Context(), client, prefix); err != nil || id != k.ID() {
		t.Errorf("sealed under %q, %v", id, err)
	}
}

func TestSealingAnewMovesNoRoot(t *testing.T) {
	prefix, k := newPrefix(t), newSealKey(t)
	s := open(t, prefix, withSeal(k))
	before := current(t, s)
	_, with, err := putCertificate(t, s, "site")
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := with.Tree.Get(tree.Key{Kind: resource.Certificate, Name: "site"})
	key := s.keys.blob(leaf.Hash)
	first := value(t, key)
	without, err := s.Commit(t.Context(), with, before.Tree, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), without, with.Tree, Meta{}); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, value(t, key)) {
		t.Error("written again with the same nonce, or not at all")
	}
	if c := current(t, open(t, prefix, withSeal(k))); c.Root() != with.Root() {
		t.Error("the root moved")
	}
}

func value(t testing.TB, key string) []byte {
	t.Helper()
	r, err := client.Get(t.Context(), key)
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("%s: %v, %d values", key, err, len(r.Kvs))
	}
	return r.Kvs[0].Value
}

func TestAStoreIsOpenedUnderItsOwnSealKeyOnly(t *testing.T) {
	prefix, k, other := newPrefix(t), newSealKey(t), newSealKey(t)
	s := open(t, prefix, withSeal(k))
	if _, _, err := putCertificate(t, s, "site"); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), client, Options{Prefix: prefix, Seal: other})
	if !errors.Is(err, ErrSealKey) || !strings.Contains(err.Error(), k.ID()) || !strings.Contains(err.Error(), other.ID()) {
		t.Errorf("another key: %v", err)
	}
	none := open(t, prefix, nil)
	if _, err := none.Current(t.Context()); !errors.Is(err, ErrSealKey) {
		t.Errorf("no key: %v", err)
	}
	if _, _, err := putCertificate(t, open(t, newPrefix(t), nil), "site"); !errors.Is(err, ErrSealKey) {
		t.Errorf("a certificate without a key to seal it: %v", err)
	}
}

func TestSealedBlobsThatWereTamperedWithAreRefused(t *testing.T) {
	k := newSealKey(t)
	for name, tamper := range map[string]func(t *testing.T, s *Store, own, other *fleetv1.Envelope){
		"a bit":     func(_ *testing.T, _ *Store, own, _ *fleetv1.Envelope) { own.Sealed[20] ^= 1 },
		"cut":       func(_ *testing.T, _ *Store, own, _ *fleetv1.Envelope) { own.Sealed = own.Sealed[:10] },
		"another's": func(_ *testing.T, _ *Store, own, other *fleetv1.Envelope) { own.Sealed = other.Sealed },
		"another key's": func(t *testing.T, _ *Store, own, _ *fleetv1.Envelope) {
			own.Sealed = newSealKey(t).Seal(own.Sealed, nil)
		},
		"plain, of other": func(_ *testing.T, _ *Store, own, _ *fleetv1.Envelope) { own.Sealed, own.Plain = nil, []byte("x") },
	} {
		t.Run(name, func(t *testing.T) {
			prefix := newPrefix(t)
			s := open(t, prefix, withSeal(k))
			if _, _, err := putCertificate(t, s, "a"); err != nil {
				t.Fatal(err)
			}
			_, now, err := putCertificate(t, s, "b")
			if err != nil {
				t.Fatal(err)
			}
			var envelopes []*fleetv1.Envelope
			var blobs []string
			for _, n := range []string{"a", "b"} {
				leaf, _ := now.Tree.Get(tree.Key{Kind: resource.Certificate, Name: n})
				e := &fleetv1.Envelope{}
				if err := proto.Unmarshal(value(t, s.keys.blob(leaf.Hash)), e); err != nil {
					t.Fatal(err)
				}
				envelopes, blobs = append(envelopes, e), append(blobs, s.keys.blob(leaf.Hash))
			}
			tamper(t, s, envelopes[0], envelopes[1])
			b, err := marshal(envelopes[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Put(t.Context(), blobs[0], b); err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, prefix, withSeal(k)).Current(t.Context()); !errors.Is(err, ErrDamaged) {
				t.Errorf("read: %v", err)
			}
		})
	}
}

func TestTicketKeysAreSealedAndReplacedByCompareAndSwap(t *testing.T) {
	prefix, k := newPrefix(t), newSealKey(t)
	s := open(t, prefix, withSeal(k))
	if record, seen, err := s.TicketKeys(t.Context()); record != nil || seen != 0 || err != nil {
		t.Fatalf("at first %v, %d, %v", record, seen, err)
	}
	secret := bytes.Repeat([]byte("ticket key 8 and "), 2)[:32]
	record := &fleetv1.TicketKeyRecord{Revision: 7, RotatedAtUnixMs: 1, Keys: [][]byte{secret}}
	if err := s.PutTicketKeys(t.Context(), record, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.PutTicketKeys(t.Context(), record, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("written over what was not seen: %v", err)
	}
	if bytes.Contains(value(t, s.keys.tickets()), secret) {
		t.Error("the key is kept in plain")
	}
	got, seen, err := open(t, prefix, withSeal(k)).TicketKeys(t.Context())
	if err != nil || !proto.Equal(got, record) {
		t.Fatalf("read as revision %d, %v", got.GetRevision(), err)
	}
	if err := s.PutTicketKeys(t.Context(), record, seen); err != nil {
		t.Error(err)
	}
	if err := open(t, newPrefix(t), nil).PutTicketKeys(t.Context(), record, 0); !errors.Is(err, ErrSealKey) {
		t.Errorf("without a seal key: %v", err)
	}
}
