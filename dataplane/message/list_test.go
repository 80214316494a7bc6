package message

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
)

// elements are those of a list as one end of it gives them.
func elements(list []byte, cut func([]byte) ([]byte, []byte)) (all [][]byte) {
	for len(list) > 0 {
		var element []byte
		element, list = cut(list)
		all = append(all, element)
	}
	return all
}

// FuzzList: both ends of a list give the elements that splitting it gives, but for an
// empty one with which it ends.
func FuzzList(f *testing.F) {
	for _, list := range []string{"", ",", "a", "a, b\t,,c ", " , a=\"x,y\"", "192.0.2.1,2001:db8::1, unknown"} {
		f.Add([]byte(list))
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		var want [][]byte
		for element := range bytes.SplitSeq(list, []byte(",")) {
			want = append(want, bytes.Trim(element, " \t"))
		}
		first, last := want, slices.Clone(want)
		slices.Reverse(last)
		if bytes.HasSuffix(list, []byte(",")) || len(list) == 0 {
			first = first[:len(first)-1]
		}
		if bytes.HasPrefix(list, []byte(",")) || len(list) == 0 {
			last = last[:len(last)-1]
		}
		if got := elements(list, NextElement); !slices.EqualFunc(got, first, bytes.Equal) {
			t.Errorf("from the start %q, want %q", got, first)
		}
		if got := elements(list, LastElement); !slices.EqualFunc(got, last, bytes.Equal) {
			t.Errorf("from the end %q, want %q", got, last)
		}
		for _, element := range first {
			if !listHas(list, element) {
				t.Errorf("%q is not found", element)
			}
			a, err := netip.ParseAddr(string(element))
			if got, ok := ParseAddr(element); ok != (err == nil && a.Zone() == "") || ok && got != a {
				t.Errorf("%q is %v, %t", element, got, ok)
			}
		}
	})
}

func TestTrailersAreTakenWhereAnElementOfTESaysSo(t *testing.T) {
	for _, c := range []struct {
		lines []string
		takes bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"trailers"}, true},
		{[]string{"gzip;q=0.5, TRAILERS"}, true},
		{[]string{"gzip", " trailers\t, deflate"}, true},
		{[]string{"trailer", "xtrailers", "trailers;q=1"}, false},
	} {
		var h Head
		for _, line := range c.lines {
			start := uint32(len(h.Arena))
			h.Arena = append(h.Arena, line...)
			h.Fields = append(h.Fields, Field{Value: Span{Start: start, End: uint32(len(h.Arena))}, ID: FieldTE})
		}
		if got := h.TakesTrailers(); got != c.takes {
			t.Errorf("%q: %t", c.lines, got)
		}
	}
}
