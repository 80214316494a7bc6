package message

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestEveryFieldNameIsFound fails when two names fall into one slot. Then try
// other odd multipliers until fillFieldSlots fills as many slots as there are
// names; a million tries are to be expected.
func TestEveryFieldNameIsFound(t *testing.T) {
	for id := FieldID(1); id < fieldEnd; id++ {
		name := id.String()
		if name == "" || name != strings.ToLower(name) || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("field %d is named %q", id, name)
		}
		for _, spelling := range []string{name, strings.ToUpper(name), mixedCase(name)} {
			if got := LookupField([]byte(spelling)); got != id {
				t.Errorf("%q: %d, want %d", spelling, got, id)
			}
		}
	}
}

func mixedCase(s string) string {
	b := []byte(s)
	for i := 0; i < len(b); i += 2 {
		if 'a' <= b[i] && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// TestNoOtherNameIsFound changes one byte of each name to every other byte.
func TestNoOtherNameIsFound(t *testing.T) {
	for id := FieldID(1); id < fieldEnd; id++ {
		name := []byte(id.String())
		for i := range name {
			for c := range 256 {
				other := append([]byte(nil), name...)
				other[i] = byte(c)
				if got, want := LookupField(other), searchField(other); got != want {
					t.Fatalf("%q: %d, want %d", other, got, want)
				}
			}
		}
		if got := LookupField(append(name, 'x')); got != 0 && got.String() != string(name)+"x" {
			t.Errorf("%sx: %v", name, got)
		}
	}
	for _, odd := range []string{"", "a", "x", "\x00", strings.Repeat("x", 33), strings.Repeat("-", 32)} {
		if got := LookupField([]byte(odd)); got != 0 {
			t.Errorf("%q: %d", odd, got)
		}
	}
}

// searchField is LookupField without a table.
func searchField(name []byte) FieldID {
	for id := FieldID(1); id < fieldEnd; id++ {
		if EqualFold(name, id.String()) {
			return id
		}
	}
	return 0
}

func TestEqualFoldAgreesWithStrings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const letters = "aAbBzZ09-_@[`{\x01"
	for range 20_000 {
		a, b := make([]byte, r.IntN(12)), make([]byte, r.IntN(12))
		for i := range a {
			a[i] = letters[r.IntN(len(letters))]
		}
		copy(b, a)
		for i := range b {
			if r.IntN(4) == 0 {
				b[i] = letters[r.IntN(len(letters))]
			}
		}
		want := strings.EqualFold(string(a), string(b))
		if got := EqualFoldBytes(a, b); got != want {
			t.Fatalf("EqualFoldBytes(%q, %q) = %v", a, b, got)
		}
		if got := EqualFold(a, strings.ToLower(string(b))); got != want {
			t.Fatalf("EqualFold(%q, %q) = %v", a, b, got)
		}
	}
}

func TestFieldsOfAHopAreKnown(t *testing.T) {
	want := map[string]bool{
		"connection": true, "keep-alive": true, "proxy-connection": true, "te": true, "transfer-encoding": true,
		"upgrade": true, "http2-settings": true, "proxy-authenticate": true, "proxy-authorization": true,
	}
	for id := FieldID(0); id < fieldEnd; id++ {
		if id.HopByHop() != want[id.String()] {
			t.Errorf("%v: %v", id, id.HopByHop())
		}
	}
}

func TestEveryMethodIsFoundByItsName(t *testing.T) {
	for m := MethodGet; m < methodEnd; m++ {
		if got := LookupMethod([]byte(m.String())); got != m {
			t.Errorf("%v: %v", m, got)
		}
	}
	for _, other := range []string{"", "get", "GETS", "GE", "BREW"} {
		if m := LookupMethod([]byte(other)); m != MethodOther || m.Idempotent() {
			t.Errorf("%q: %v", other, m)
		}
	}
}

// head makes a head of field lines "name: value".
func head(lines ...string) *Head {
	h := &Head{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		start := uint32(len(h.Arena))
		h.Arena = append(append(h.Arena, name...), value...)
		h.Fields = append(h.Fields, Field{
			Name:  Span{start, start + uint32(len(name))},
			Value: Span{start + uint32(len(name)), uint32(len(h.Arena))},
			ID:    LookupField([]byte(name)),
		})
	}
	h.Named = true
	return h
}

func TestConnectionNamesNoFieldThatOthersRelyOn(t *testing.T) {
	h := head("Connection: close, X-Foo", "A: b", "connection: ,x-bar ,Host,cookie, authorization,content-length, X-Forwarded-For, x-forwarded-anything, Forwarded")
	for name, want := range map[string]bool{
		"x-foo": true, "X-BAR": true, "a": false, "host": false, "Cookie": false, "Authorization": false,
		"Content-Length": false, "X-Forwarded-For": false, "X-Forwarded-Anything": false, "Forwarded": false, "": false,
	} {
		if got := h.NamedByConnection([]byte(name)); got != want && name != "" {
			t.Errorf("%q: %v", name, got)
		}
	}
	if h.Named = false; h.NamedByConnection([]byte("x-foo")) {
		t.Error("asked although nothing is named")
	}
}

func TestValueReturnsTheFirstLine(t *testing.T) {
	h := head("Accept: a", "X: y", "accept: b")
	if v, ok := h.Value(FieldAccept); !ok || string(v) != "a" {
		t.Errorf("%q, %v", v, ok)
	}
	if _, ok := h.Value(FieldHost); ok {
		t.Error("found what is not there")
	}
}
