package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

func members() []member.Member {
	return []member.Member{
		{},
		{Boot: math.MaxUint64, Flags: member.Eligible | member.Witness, ListRevision: math.MaxUint64},
		{
			Boot: 1, Labels: []member.Label{{Name: "role", Value: "edge"}, {Name: "zone"}},
			Holdings: []member.Holding{{VIP: "x", Term: 1 << 60, SinceUnixMS: -1}, {VIP: "y"}}, HoldingsCut: true,
		},
	}
}

func TestMetaDataComesBackAsItWas(t *testing.T) {
	for _, m := range members() {
		b := appendMeta(nil, &m, maxMeta)
		var got member.Member
		if err := parseMeta(b, &got); err != nil || !got.Equal(m) {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
		for i := range b {
			if err := parseMeta(b[:i], &member.Member{}); !errors.Is(err, errMeta) {
				t.Errorf("the first %d of %d bytes: %v", i, len(b), err)
			}
		}
		if err := parseMeta(append(b, "of a later build"...), &member.Member{}); err != nil {
			t.Errorf("what a later build adds is refused: %v", err)
		}
	}
}

func TestHoldingsThatDoNotFitAreLeftOutAndThatIsSaid(t *testing.T) {
	m := member.Member{Boot: 1, Labels: []member.Label{{Name: "a", Value: strings.Repeat("x", 255)}}}
	for i := range 300 {
		m.Holdings = append(m.Holdings, member.Holding{VIP: fmt.Sprintf("vip-%03d", i), Term: 1000, SinceUnixMS: 1 << 40})
	}
	b := appendMeta(nil, &m, maxMeta)
	var got member.Member
	if err := parseMeta(b, &got); err != nil || len(b) > maxMeta {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if n := len(got.Holdings); !got.HoldingsCut || n < 10 || n == 300 {
		t.Errorf("%d holdings, cut %v", n, got.HoldingsCut)
	}
	m.Holdings = m.Holdings[:len(got.Holdings)]
	if err := parseMeta(appendMeta(nil, &m, maxMeta), &member.Member{}); err != nil {
		t.Error(err)
	}
}

func FuzzMeta(f *testing.F) {
	for _, m := range members() {
		f.Add(appendMeta(nil, &m, maxMeta))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again member.Member
		if parseMeta(b, &m) != nil {
			return
		}
		if err := parseMeta(appendMeta(nil, &m, math.MaxInt), &again); err != nil || !again.Equal(m) {
			t.Fatalf("%+v came back as %+v, %v", m, again, err)
		}
	})
}

func TestLinesBecomeRecords(t *testing.T) {
	for line, want := range map[string]string{
		"[DEBUG] memberlist: Stream connection\n":                        "DEBUG Stream connection",
		"[INFO] memberlist: Suspect a has failed":                        "INFO Suspect a has failed",
		"[WARN] memberlist: Refuting":                                    "WARN Refuting",
		"[ERR] memberlist: Decrypt packet failed: no key [x] from=1.2.3": "ERROR Decrypt packet failed: no key [x] from=1.2.3",
		"[ERR] Failed to shutdown transport":                             "ERROR Failed to shutdown transport",
		"bare":                                                           "INFO bare",
		"[odd":                                                           "INFO [odd",
		"":                                                               "INFO ",
	} {
		level, text := parseLine([]byte(line))
		if got := level.String() + " " + text; got != want {
			t.Errorf("%q is %q, want %q", line, got, want)
		}
	}
}

func TestAFloodOfLinesIsCutShort(t *testing.T) {
	w := newLogWriter(slog.New(slog.DiscardHandler), "a")
	now := time.Unix(0, 0).Add(time.Hour)
	admitted := 0
	for range 1000 {
		if _, ok := w.admit(now); ok {
			admitted++
		}
	}
	if _, ok := w.admit(now.Add(logWindow - 1)); ok { // a stranger sends for hours
		t.Error("a line after the window's last")
	}
	dropped, ok := w.admit(now.Add(logWindow))
	if admitted != maxLines || dropped != 1001-maxLines || !ok {
		t.Errorf("%d admitted, then %d dropped, %v", admitted, dropped, ok)
	}
	var out bytes.Buffer
	w = newLogWriter(slog.New(slog.NewTextHandler(&out, nil)), "a")
	if _, err := w.Write([]byte("[WARN] memberlist: hello")); err != nil || !strings.Contains(out.String(), `level=WARN msg="gossip: hello"`) {
		t.Error(out.String(), err)
	}
}

func TestThePrivateAddressIsAdvertised(t *testing.T) {
	nets := func(list ...string) (all []net.Addr) {
		for _, s := range list {
			ip, n, err := net.ParseCIDR(s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		return all
	}
	for _, c := range []struct {
		have []net.Addr
		want string
	}{
		{nets("127.0.0.1/8", "203.0.113.1/24", "10.1.2.3/8", "192.168.0.1/24"), "10.1.2.3"},
		{nets("127.0.0.1/8", "fe80::1/64", "203.0.113.1/24"), "203.0.113.1"},
		{nets("127.0.0.1/8", "fe80::1/64"), "127.0.0.1"},
		{nil, "127.0.0.1"},
	} {
		if got := choose(c.have).String(); got != c.want {
			t.Errorf("of %v %s is chosen, want %s", c.have, got, c.want)
		}
	}
}

// TestWhatEachRestartBringsIsNoWarning, and what others say of a node that is there is one.
func TestWhatEachRestartBringsIsNoWarning(t *testing.T) {
	for line, want := range map[string]string{
		"[WARN] memberlist: Refuting a dead message (from: a)\n": "level=INFO",
		"[WARN] memberlist: Refuting a dead message (from: b)\n": "level=WARN",
	} {
		var out bytes.Buffer
		w := newLogWriter(slog.New(slog.NewTextHandler(&out, nil)), "a")
		if _, err := w.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q became %q", line, out.String())
		}
	}
}
