package table

import (
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/balance"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

func TestPrefixesMatchAtSegmentBorders(t *testing.T) {
	for _, tc := range []struct {
		prefix, path string
		want         bool
	}{
		{"/foo", "/foo", true},
		{"/foo", "/foo/", true},
		{"/foo", "/foo/bar", true},
		{"/foo", "/foobar", false},
		{"/foo", "/fo", false},
		{"/foo", "/", false},
		{"/foo/", "/foo", false},
		{"/foo/", "/foo/", true},
		{"/foo/", "/foo/bar", true},
		{"/foo/", "/foo//", true},
		{"/foo//", "/foo/", false},
		{"/foo//", "/foo//bar", true},
		{"/foo/a", "/foo//a", false},
		{"//", "//x", true},
		{"//", "/x", false},
		{"/", "/", true},
		{"/", "/x", true},
		{"/", "", true},
		{"/foo", "", false},
	} {
		if got := prefixFits([]byte(tc.path), tc.prefix); got != tc.want {
			t.Errorf("prefix %q, path %q: %v", tc.prefix, tc.path, got)
		}
		// The index must agree with the scan.
		r := &Route{Name: "r", Path: PathMatch{Kind: PathPrefix, Text: tc.prefix}}
		p := &pathIndex{}
		p.add(new(Edit), r)
		m := matcher{q: &Query{Path: []byte(tc.path)}}
		if got := p.match(&m) == r; got != tc.want {
			t.Errorf("indexed prefix %q, path %q: %v", tc.prefix, tc.path, got)
		}
	}
}

func TestTheFirstConditionThatFailsIsNamed(t *testing.T) {
	regex := func(s string) *regexp.Regexp { return regexp.MustCompile(`\A(?:` + s + `)\z`) }
	head := &message.Head{}
	addField(head, "X-Group", "a")
	addField(head, "x-group", "testers")
	addField(head, "Cookie", "id=7")
	query := func(s string) Query { return Query{RawQuery: []byte(s), HasQuery: true, Head: head} }
	for _, tc := range []struct {
		name   string
		c      Conditions
		q      Query
		failed Clause
		at     int
	}{
		{"any line of the name", Conditions{Headers: []ValueMatch{{Name: "x-group", Kind: TextExact, Text: "testers"}}}, query(""), ClauseNone, 0},
		{"no line fits", Conditions{Headers: []ValueMatch{{Name: "x-group", Kind: TextExact, Text: "test"}}}, query(""), ClauseHeader, 0},
		{"all of them", Conditions{Headers: []ValueMatch{{Name: "x-group"}, {Name: "other"}}}, query(""), ClauseHeader, 1},
		{"inverted: one line that fits is too many", Conditions{Headers: []ValueMatch{{Name: "x-group", Kind: TextPrefix, Text: "test", Invert: true}}}, query(""), ClauseHeader, 0},
		{"inverted: absent fits", Conditions{Headers: []ValueMatch{{Name: "other", Kind: TextExact, Text: "x", Invert: true}}}, query(""), ClauseNone, 0},
		{"well-known name", Conditions{Headers: []ValueMatch{{Name: "cookie", ID: message.FieldCookie, Kind: TextRegex, Regex: regex(`id=\d`)}}}, query(""), ClauseNone, 0},
		{"regex takes the whole value", Conditions{Headers: []ValueMatch{{Name: "cookie", ID: message.FieldCookie, Kind: TextRegex, Regex: regex(`id`)}}}, query(""), ClauseHeader, 0},
		{"without a head", Conditions{Headers: []ValueMatch{{Name: "x-group"}}}, Query{}, ClauseHeader, 0},
		{"query: any value", Conditions{Query: []ValueMatch{{Name: "k", Kind: TextExact, Text: "2"}}}, query("k=1&k=2"), ClauseNone, 0},
		{"query: decoded", Conditions{Query: []ValueMatch{{Name: "a b", Kind: TextExact, Text: "c d&="}}}, query("a%20b=c+d%26%3D"), ClauseNone, 0},
		{"query: bad escapes stand for themselves", Conditions{Query: []ValueMatch{{Name: "k", Kind: TextExact, Text: "%zz%4"}}}, query("k=%zz%4"), ClauseNone, 0},
		{"query: name alone", Conditions{Query: []ValueMatch{{Name: "debug"}}}, query("x&debug"), ClauseNone, 0},
		{"query: name of a longer one", Conditions{Query: []ValueMatch{{Name: "de"}}}, query("debug"), ClauseQuery, 0},
		{"query: regex of a decoded value", Conditions{Query: []ValueMatch{{Name: "k", Kind: TextRegex, Regex: regex(`a b`)}}}, query("k=a%20b"), ClauseNone, 0},
		{"query: semicolons do not separate", Conditions{Query: []ValueMatch{{Name: "b"}}}, query("a;b"), ClauseQuery, 0},
		{"method", Conditions{Methods: 1 << message.MethodGet}, Query{Method: message.MethodPost}, ClauseMethod, 0},
		{"HEAD is not GET", Conditions{Methods: 1 << message.MethodGet}, Query{Method: message.MethodHead}, ClauseMethod, 0},
		{"unknown method", Conditions{Others: []string{"PURGE"}}, Query{MethodName: []byte("PURGE")}, ClauseNone, 0},
		{"other unknown method", Conditions{Others: []string{"PURGE"}}, Query{MethodName: []byte("purge")}, ClauseMethod, 0},
		{"client", Conditions{Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, Query{Client: netip.MustParseAddr("10.9.9.9")}, ClauseNone, 0},
		{"mapped client", Conditions{Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, Query{Client: netip.MustParseAddr("::ffff:10.9.9.9")}, ClauseNone, 0},
		{"other client", Conditions{Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, Query{Client: netip.MustParseAddr("::a00:1")}, ClauseClient, 0},
		{"no client", Conditions{Clients: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}, Query{}, ClauseClient, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if failed, at := tc.c.fits(&tc.q); failed != tc.failed || at != tc.at {
				t.Errorf("got %s %d, want %s %d", failed, at, tc.failed, tc.at)
			}
		})
	}
}

// TestAQueryIsDecodedAsAFormIs: what stands behind a "%" decides, and each digit counts.
func TestAQueryIsDecodedAsAFormIs(t *testing.T) {
	const borders = "\x00/09:@AFG`afg%+\xff"
	var q Query
	for _, raw := range []string{"", "%", "%4", "%41", "1%4", "1%41", "a", "+", "1+%"} {
		if got, want := string(q.decode([]byte(raw))), oracleDecode(raw); got != want {
			t.Errorf("%q is decoded as %q, want %q", raw, got, want)
		}
	}
	for a := range 256 {
		for b := range len(borders) {
			for _, pair := range [2]string{string([]byte{byte(a), borders[b]}), string([]byte{borders[b], byte(a)})} {
				raw := "12%" + pair + "+"
				if got, want := string(q.decode([]byte(raw))), oracleDecode(raw); got != want {
					t.Fatalf("%q is decoded as %q, want %q", raw, got, want)
				}
			}
		}
	}
}

func TestExplainTellsEachCandidateAndItsFailure(t *testing.T) {
	get := &Conditions{Methods: 1 << message.MethodGet}
	l := build(
		t,
		&Route{Name: "exact", Hosts: []string{"a.test"}, Path: PathMatch{Kind: PathExact, Text: "/x"}, Conditions: get},
		&Route{Name: "prefix", Hosts: []string{"a.test"}, Path: PathMatch{Kind: PathPrefix, Text: "/y"}},
		&Route{Name: "wild", Hosts: []string{"*.test"}, Path: PathMatch{Kind: PathPrefix, Text: "/"}, Conditions: &Conditions{
			Headers: []ValueMatch{{Name: "a", Invert: true}, {Name: "b"}},
		}},
		&Route{Name: "any", Path: PathMatch{Kind: PathAny}},
		&Route{Name: "never", Path: PathMatch{Kind: PathAny}, Priority: -1},
	)
	explain := func(host string) string {
		var steps []string
		q := &Query{Host: []byte(host), Path: []byte("/x"), Method: message.MethodPost, MethodName: []byte("POST")}
		l.Explain(q, func(s Step) {
			r := "no routes"
			if s.Route != nil {
				r = s.Route.Name + " " + s.Failed.String()
			}
			if s.Failed == ClauseHeader {
				r += " 1"[:2*s.At]
			}
			steps = append(steps, s.Class+": "+r)
		})
		return strings.Join(steps, "; ")
	}
	for host, want := range map[string]string{
		"a.test":  "a.test: exact methods; a.test: prefix path; *.test: wild headers 1; : any none",
		"b.test":  "b.test: no routes; *.test: wild headers 1; : any none",
		"unknown": "unknown: no routes; : any none",
	} {
		if got := explain(host); got != want {
			t.Errorf("%s:\n got %s\nwant %s", host, got, want)
		}
	}
}

func TestDropsWhatIsRemovedOrSet(t *testing.T) {
	ops := &HeaderOps{
		Remove: []HeaderName{{Name: []byte("x-a")}, {Name: []byte("cookie"), ID: message.FieldCookie}},
		Set:    []HeaderField{{Name: []byte("x-b")}, {Name: []byte("accept"), ID: message.FieldAccept}},
		Add:    []HeaderField{{Name: []byte("x-c")}},
	}
	for name, want := range map[string]bool{"X-A": true, "x-b": true, "Cookie": true, "x-c": false, "x-aa": false, "Accept": true, "Date": false} {
		if got := ops.Drops([]byte(name), message.LookupField([]byte(name))); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if (*HeaderOps)(nil).Drops([]byte("x"), 0) {
		t.Error("nil drops")
	}
}

func TestWithTargetsKeepsEverythingElse(t *testing.T) {
	r := &Route{}
	v := reflect.ValueOf(r).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		case reflect.Uint8, reflect.Uint32:
			f.SetUint(1)
		case reflect.Int32, reflect.Int64:
			f.SetInt(1)
		}
	}
	r.Path.Text, r.Split = "/", balance.NewSplit([]uint32{1})
	r.Series.Store(7)
	targets := []Target{{Weight: 9}}
	n := r.WithTargets(targets)
	w := reflect.ValueOf(n).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if slices.Contains([]string{"Targets", "Series"}, name) {
			continue
		}
		if !reflect.DeepEqual(v.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s is lost", name)
		}
	}
	if slot, known := n.Series.Load(); !known || slot != 7 || n.Targets[0].Weight != 9 {
		t.Error("targets or series are lost")
	}
}
