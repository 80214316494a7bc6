package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/proxyfleet/proxyfleet/dataplane/permit/permittest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"google.golang.org/protobuf/proto"
)

func TestPartsMakeOneUpdate(t *testing.T) {
	a := assembly{limit: maxUpdateBytes}
	v := tree.Version{Epoch: 1, Revision: 2, Root: tree.Sum([]byte("x"))}
	base := tree.Sum([]byte("base"))
	part := func(n uint32, last bool, upserts ...string) *fleetv1.Update {
		u := &fleetv1.Update{Base: base[:], Target: v.Proto(), Part: n, Last: last}
		for _, s := range upserts {
			u.Upserts = append(u.Upserts, []byte(s))
		}
		return u
	}
	// What was left unfinished is thrown away.
	if u, err := a.add(part(0, false, "old")); u != nil || err != nil {
		t.Fatal(u, err)
	}
	for _, p := range []*fleetv1.Update{part(0, false, "a", "b"), part(1, false)} {
		if u, err := a.add(p); u != nil || err != nil {
			t.Fatal(u, err)
		}
	}
	last := part(2, true, "c")
	last.Removed = []*fleetv1.ResourceKey{{Kind: "Route", Name: "r"}}
	u, err := a.add(last)
	if err != nil || u == nil || u.whole || u.base != base || u.target != v {
		t.Fatalf("%+v, %v", u, err)
	}
	if len(u.upserts) != 3 || string(u.upserts[2]) != "c" || len(u.removed) != 1 || u.removed[0] != (tree.Key{Kind: "Route", Name: "r"}) {
		t.Fatalf("%+v", u)
	}
}

func TestPartsOutOfOrderAreAProtocolViolation(t *testing.T) {
	v := tree.Version{Epoch: 1, Revision: 2, Root: tree.Sum([]byte("x"))}
	w := tree.Version{Epoch: 1, Revision: 3, Root: tree.Sum([]byte("y"))}
	base := tree.Sum([]byte("base"))
	for name, parts := range map[string][]*fleetv1.Update{
		"begins in the middle": {{Target: v.Proto(), Part: 1}},
		"a gap":                {{Target: v.Proto()}, {Target: v.Proto(), Part: 2}},
		"another target":       {{Target: v.Proto()}, {Target: w.Proto(), Part: 1}},
		"another base":         {{Target: v.Proto()}, {Target: v.Proto(), Base: base[:], Part: 1}},
		"after the last":       {{Target: v.Proto(), Last: true}, {Target: v.Proto(), Part: 1}},
		"no target":            {{}},
		"short digest":         {{Target: &fleetv1.Version{Digest: make([]byte, 31)}}},
		"short base":           {{Target: v.Proto(), Base: []byte{1}}},
	} {
		a := assembly{limit: maxUpdateBytes}
		var err error
		for _, p := range parts {
			_, err = a.add(p)
		}
		if !errors.Is(err, errProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTooLargeAnUpdateKeepsNothing(t *testing.T) {
	a := assembly{limit: 1000}
	v := tree.Version{Epoch: 1, Revision: 2, Root: tree.Sum([]byte("x"))}
	big := [][]byte{make([]byte, 600)}
	for i := range uint32(3) {
		u, err := a.add(&fleetv1.Update{Target: v.Proto(), Part: i, Last: i == 2, Upserts: big})
		if err != nil || (u != nil) != (i == 2) {
			t.Fatal(u, err)
		}
		if i == 2 && (!u.tooLarge || u.upserts != nil) {
			t.Fatalf("%+v", u)
		}
	}
}

func TestVersionsGoForwardWithinAnEpoch(t *testing.T) {
	root := tree.Sum(nil)
	at := func(epoch, revision uint64) tree.Version {
		return tree.Version{Epoch: epoch, Revision: revision, Root: root}
	}
	for _, c := range []struct {
		from, to tree.Version
		want     bool
	}{
		{tree.Version{}, at(1, 0), true},
		{at(1, 5), at(1, 6), true},
		{at(1, 5), at(1, 5), true},
		{at(1, 5), at(1, 4), false},
		{at(1, 5), tree.Version{Epoch: 1, Revision: 5, Root: tree.Sum([]byte("other"))}, false},
		{at(1, 5), at(2, 0), true},
		{at(2, 0), at(1, 9), false},
	} {
		if got := before(c.from, c.to); got != c.want {
			t.Errorf("%v to %v: %v", c.from, c.to, got)
		}
	}
}

func TestKeyIsReadFromCanonicalBytes(t *testing.T) {
	for _, c := range []struct {
		bytes []byte
		want  tree.Key
		fails string
	}{
		{bytes: upstream(t, "a.b-c", "10.0.0.1:80"), want: tree.Key{Kind: "Upstream", Name: "a.b-c"}},
		{bytes: dangling(t, "r"), want: tree.Key{Kind: "Route", Name: "r"}},
		{bytes: canonical(t, &fleetv1.Resource{Kind: new("Route"), Name: new("r"), Labels: map[string]string{"a": "b"}}), want: tree.Key{Kind: "Route", Name: "r"}},
		{bytes: canonical(t, &fleetv1.Resource{Kind: new("Route")}), fails: "no name"},
		{bytes: canonical(t, &fleetv1.Resource{Name: new("r")}), fails: "no kind"},
		{bytes: nil, fails: "no kind"},
		{bytes: []byte{0x0a, 0xff}, fails: "resource"},
	} {
		got, err := keyOf(c.bytes)
		if c.fails == "" && (err != nil || got != c.want) || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%x: %v, %v", c.bytes, got, err)
		}
	}
}

// FuzzKeyOf: whatever protobuf reads, keyOf reads the same, and it never panics.
func FuzzKeyOf(f *testing.F) {
	f.Add(upstream(f, "a", "10.0.0.1:80"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := keyOf(b)
		r, perr := resource.Parse(b)
		if perr != nil || err != nil {
			return
		}
		again, cerr := resource.Canonical(r)
		if cerr == nil && string(again) == string(b) && k != resource.KeyOf(r) {
			t.Fatalf("%x: %v, want %v", b, k, resource.KeyOf(r))
		}
	})
}

func TestPlaintextIsForLoopbackUnlessInsecure(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "unix:/run/x": true,
		"[::ffff:127.0.0.1]:1": true,
		"10.0.0.1:1":           false, "control.example:1": false, "localhost.example:1": false, "[fe80::1]:1": false,
	} {
		if err := CheckAddress(address, false); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
		if err := CheckAddress(address, true); err != nil {
			t.Errorf("%s, insecure: %v", address, err)
		}
	}
	for _, address := range []string{"", "127.0.0.1", "1.2.3.4:5:6", ":1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:grpc", "127.0.0.1:65536", "unix:", "http://127.0.0.1:1"} {
		if err := CheckAddress(address, true); err == nil {
			t.Errorf("%q is accepted", address)
		}
	}
}

// FuzzAssembly: whatever parts arrive, an update that applies has the root that
// it names, and nothing panics.
func FuzzAssembly(f *testing.F) {
	have := treeOf(f, upstream(f, "a", "10.0.0.1:80"))
	next := have.Set(tree.Key{Kind: "Upstream", Name: "b"}, upstream(f, "b", "10.0.0.1:80"))
	from, to := have.Root(), next.Root()
	for _, u := range []*fleetv1.Update{
		{Base: from[:], Target: &fleetv1.Version{Revision: 1, Digest: to[:]}, Last: true, Upserts: [][]byte{upstream(f, "b", "10.0.0.1:80")}},
		{Target: &fleetv1.Version{Revision: 1, Digest: to[:]}, Removed: []*fleetv1.ResourceKey{{Kind: "Upstream", Name: "a"}}},
	} {
		b, err := proto.Marshal(u)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, []byte(nil))
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a := assembly{limit: 1 << 10}
		for _, b := range [][]byte{first, second} {
			var part fleetv1.Update
			if proto.Unmarshal(b, &part) != nil {
				continue
			}
			u, err := a.add(&part)
			if err != nil {
				return
			}
			if u == nil || u.tooLarge {
				continue
			}
			if got, err := u.applyTo(have, func() {}); err == nil && got.Root() != u.target.Root {
				t.Fatalf("applied, but the root is %v", got.Root())
			}
		}
	})
}

func TestPermitIsHeldWhileComputingOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		permit := &permittest.Counting{T: t}
		n := start(t, func(c *Config) {
			c.Permit = permit
			apply := c.Apply
			c.Apply = func(ctx context.Context, next *table.Table) error {
				if permit.Held {
					t.Error("held while applying")
				}
				return apply(ctx, next)
			}
		})
		l, _ := n.accept()
		var big tree.Tree
		for i := range 5000 {
			name := fmt.Sprintf("u%d", i)
			big = big.Set(tree.Key{Kind: resource.Upstream, Name: name}, upstream(t, name, "10.0.0.1:80"))
		}
		n.wantAck(l, l.send(nil, big, 1, 1))
		n.wantNack(l, l.send(nil, treeOf(t, dangling(t, "r")), 1, 2), fleetv1.Nack_PERMANENT, "missing")
		if permit.Held || permit.Times < 2 {
			t.Fatalf("held %v, acquired %d times", permit.Held, permit.Times)
		}
	})
}
