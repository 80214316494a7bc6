package hpack_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/hpack"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	xhpack "golang.org/x/net/http2/hpack"
)

// pair is a decoded field.
type pair struct {
	name, value string
	sensitive   bool
}

func (p pair) String() string { return fmt.Sprintf("%q: %q (%v)", p.name, p.value, p.sensitive) }

// decode decodes one block and checks that ids are those of the names.
func decode(t testing.TB, d *hpack.Decoder, block []byte) (pairs []pair, problem hpack.Problem) {
	rest, problem := d.Start(block)
	if problem != hpack.NoProblem {
		return nil, problem
	}
	var arena []byte
	for len(rest) > 0 {
		var f message.Field
		f, rest, arena, problem = d.Field(rest, arena)
		if problem != hpack.NoProblem {
			return pairs, problem
		}
		name := arena[f.Name.Start:f.Name.End]
		if f.ID != message.LookupField(name) {
			t.Fatalf("%q has id %v", name, f.ID)
		}
		pairs = append(pairs, pair{string(name), string(arena[f.Value.Start:f.Value.End]), f.Sensitive})
	}
	return pairs, hpack.NoProblem
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestExamplesOfTheRFC decodes the sequences of RFC 7541 appendix C, whose
// tables evict.
func TestExamplesOfTheRFC(t *testing.T) {
	for name, example := range map[string]struct {
		table  uint32
		blocks []string
		want   []string // of the last block
	}{
		"C.3 requests": {4096, []string{
			"8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
			"8286 84be 5808 6e6f 2d63 6163 6865",
			"8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
		}, []string{":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com", "custom-key: custom-value"}},
		"C.4 requests with Huffman": {4096, []string{
			"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
			"8286 84be 5886 a8eb 1064 9cbf",
			"8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
		}, []string{":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com", "custom-key: custom-value"}},
		"C.6 responses with Huffman": {256, []string{
			"4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
			"4883 640e ffc1 c0bf",
			"88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
		}, []string{
			":status: 200", "cache-control: private", "date: Mon, 21 Oct 2013 20:13:22 GMT", "location: https://www.example.com",
			"content-encoding: gzip", "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var d hpack.Decoder
			d.Init(example.table)
			var got []pair
			for _, block := range example.blocks {
				var problem hpack.Problem
				if got, problem = decode(t, &d, unhex(t, block)); problem != hpack.NoProblem {
					t.Fatalf("%s: %v", block, problem)
				}
			}
			var lines []string
			for _, p := range got {
				lines = append(lines, p.name+": "+p.value)
			}
			if strings.Join(lines, "\n") != strings.Join(example.want, "\n") {
				t.Errorf("got  %q\nwant %q", lines, example.want)
			}
		})
	}
}

func TestWhatIsWrongWithABlockIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		block string
		want  hpack.Problem
	}{
		"index 0":                               {"80", hpack.BadIndex},
		"index beyond the tables":               {"be", hpack.BadIndex},
		"name beyond the tables":                {"7e 01 61", hpack.BadIndex},
		"index too large":                       {"ff ff ff ff ff 0f", hpack.BadInteger},
		"integer that does not end":             {"ff ff", hpack.Truncated},
		"integer of zeros that does not end":    {"ff 80 80 80 80 80 80 00", hpack.BadInteger},
		"no value":                              {"44", hpack.Truncated},
		"value shorter than said":               {"44 03 61 61", hpack.Truncated},
		"no name":                               {"40", hpack.Truncated},
		"update behind a field":                 {"82 20", hpack.BadSizeUpdate},
		"a third update":                        {"20 20 20 82", hpack.BadSizeUpdate},
		"update beyond what we allow":           {"3f e2 1f", hpack.BadSizeUpdate},
		"the end symbol":                        {"44 84 ff ff ff ff", hpack.BadHuffman},
		"padding of 8 bits":                     {"44 82 1f ff", hpack.BadHuffman},
		"padding of zeros":                      {"44 81 18", hpack.BadHuffman},
		"two updates at the beginning are fine": {"20 3f e1 1f 82", hpack.NoProblem},
		"nothing at all is fine":                {"", hpack.NoProblem},
	} {
		t.Run(name, func(t *testing.T) {
			var d hpack.Decoder
			d.Init(4096)
			if _, problem := decode(t, &d, unhex(t, c.block)); problem != c.want {
				t.Errorf("%v, want %v", problem, c.want)
			}
		})
	}
}

// TestEveryByteIsDecodedFromHuffman compares with the codes of x/net.
func TestEveryByteIsDecodedFromHuffman(t *testing.T) {
	for first := range 256 {
		for second := range 256 {
			want := string([]byte{byte(first), byte(second), byte(first)})
			coded := xhpack.AppendHuffmanString(nil, want)
			block := append([]byte{0x04, 0x80 | byte(len(coded))}, coded...)
			var d hpack.Decoder
			d.Init(0)
			got, problem := decode(t, &d, block)
			if problem != hpack.NoProblem || got[0].value != want {
				t.Fatalf("%q: %v, %v", want, got, problem)
			}
		}
	}
}

// TestTableForgetsTheOldest fills the table many times over, with entries of
// many sizes, and compares every index with x/net's.
func TestTableForgetsTheOldest(t *testing.T) {
	var d hpack.Decoder
	d.Init(hpack.DefaultTableSize)
	other := xhpack.NewDecoder(hpack.DefaultTableSize, nil)
	for i := range 2000 {
		value := strings.Repeat("v", i*i%700)
		block := append([]byte{0x40, 4}, fmt.Sprintf("n%03d", i%1000)...)
		block = appendLength(block, len(value))
		block = append(block, value...)
		for index := 62; index < 62+i%7; index++ {
			block = append(block, 0x80|byte(index))
		}
		same(t, &d, other, block)
	}
}

func appendLength(dst []byte, n int) []byte {
	if n < 127 {
		return append(dst, byte(n))
	}
	dst = append(dst, 127)
	for n -= 127; n >= 128; n >>= 7 {
		dst = append(dst, 0x80|byte(n))
	}
	return append(dst, byte(n))
}

// same decodes a block with both and compares. false: the connection is over.
func same(t testing.TB, d *hpack.Decoder, other *xhpack.Decoder, block []byte) bool {
	ours, problem := decode(t, d, block)
	theirs, err := other.DecodeFull(block)
	switch {
	case problem == hpack.BadInteger || problem == hpack.BadSizeUpdate:
		return false // x/net takes larger integers, and updates where its table is empty
	case err != nil && strings.Contains(err.Error(), "MUST occur at the beginning"):
		return false // x/net takes one update, the RFC has two
	case (problem == hpack.NoProblem) != (err == nil):
		t.Fatalf("%x: %v, x/net says %v", block, problem, err)
	case err != nil:
		return false
	}
	if len(ours) != len(theirs) {
		t.Fatalf("%x: %v, x/net says %v", block, ours, theirs)
	}
	for i, f := range theirs {
		if want := (pair{f.Name, f.Value, f.Sensitive}); ours[i] != want {
			t.Fatalf("%x: field %d is %v, x/net says %v", block, i, ours[i], want)
		}
	}
	return true
}

// TestSkipKeepsTheTable skips a block and decodes the next, which names what
// the first added.
func TestSkipKeepsTheTable(t *testing.T) {
	first := unhex(t, "82 40 01 61 01 62 00 01 63 01 64 44 02 2f 78 be")
	var read, skipped hpack.Decoder
	read.Init(4096)
	skipped.Init(4096)
	if _, problem := decode(t, &read, first); problem != hpack.NoProblem {
		t.Fatal(problem)
	}
	if _, problem := skipped.Skip(first, nil, 1<<20); problem != hpack.NoProblem {
		t.Fatal(problem)
	}
	next := unhex(t, "be bf")
	want, _ := decode(t, &read, next)
	got, problem := decode(t, &skipped, next)
	if problem != hpack.NoProblem || fmt.Sprint(got) != fmt.Sprint(want) || len(got) != 2 {
		t.Errorf("%v, %v, want %v", got, problem, want)
	}
	for _, bad := range []string{"80", "ff", "20", "00 01", "7f ff ff ff ff ff", "0f 80 80 80 80 80", "0e 05 61", "0f 7f 01 61"} {
		if _, problem := skipped.Skip(unhex(t, bad), nil, 1<<20); problem == hpack.NoProblem {
			t.Errorf("%s was skipped", bad)
		}
	}
}

// TestIndexesOfAByteAreSkippedAsTheyAreDecoded has every byte, at every place among
// 40, behind and before such indexes.
func TestIndexesOfAByteAreSkippedAsTheyAreDecoded(t *testing.T) {
	for entries := range 70 {
		for c := range 256 {
			at := (c + entries) % 41
			block := []byte(strings.Repeat("\x82", at) + string([]byte{byte(c)}) + strings.Repeat("\x83", 40))
			var read, skipped hpack.Decoder
			for _, d := range []*hpack.Decoder{&read, &skipped} {
				d.Init(4096)
				for range entries {
					if _, problem := decode(t, d, []byte{0x40, 1, 'a', 0}); problem != hpack.NoProblem {
						t.Fatal(problem)
					}
				}
			}
			if c&0xe0 == 0x20 && at == 0 {
				continue // an update, which Start takes
			}
			_, want := decode(t, &read, block)
			if _, got := skipped.Skip(block, nil, 1<<20); got != want {
				t.Fatalf("%d entries, %x: skipped with %v, decoded with %v", entries, block, got, want)
			}
		}
	}
}

// TestWhatIsSkippedPutsNoMoreIntoTheTableThanAllowed has a name of 20 bytes, and then
// fields of two bytes each that have it too.
func TestWhatIsSkippedPutsNoMoreIntoTheTableThanAllowed(t *testing.T) {
	block := append(unhex(t, "40 14"), strings.Repeat("a", 20)+"\x00"+strings.Repeat("\x7e\x00", 10)+"\x10\x01x\x01y"...)
	const beyond = 10*(20-2) - 3 // what came of the first is not in the table: its lengths
	for most, want := range map[int]hpack.Problem{beyond: hpack.NoProblem, beyond - 1: hpack.TooMuch, 4: hpack.TooMuch} {
		var d hpack.Decoder
		d.Init(4096)
		if _, problem := d.Skip(block, nil, most); problem != want {
			t.Errorf("at most %d: %v, want %v", most, problem, want)
		}
	}
	var d hpack.Decoder
	d.Init(4096)
	plain := []byte(strings.Repeat("\x40\x03abc\x03def", 5000))
	if _, problem := d.Skip(plain, nil, 0); problem != hpack.NoProblem {
		t.Errorf("what came in full: %v", problem)
	}
}

// ahead holds what Ahead tells of a block against its fields: never more, and just so
// much where nothing goes into the table and nothing is in Huffman code.
func ahead(t testing.TB, d *hpack.Decoder, block []byte, exact bool) {
	size, found := d.Ahead(block, 1<<30, 1<<30)
	pairs, problem := decode(t, d, block)
	if problem != hpack.NoProblem {
		return
	}
	want := 0
	for _, p := range pairs {
		want += len(p.name) + len(p.value) + 32
	}
	if size > want || found > len(pairs) || exact && (size != want || found != len(pairs)) {
		t.Fatalf("%x: %d bytes in %d fields ahead, %d in %d decoded", block, size, found, want, len(pairs))
	}
}

func TestLookingAheadTellsNoMoreThanThereIs(t *testing.T) {
	for block, exact := range map[string]bool{
		"82 86 90 00 01 61 03 62 62 62 0f 00 01 78 bf be": true, // two entries are there
		"82 40 01 61 01 62 be":                            false,
		"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff":      false,
		"04 8c f1e3 c2e5 f23a 6ba0 ab90 f4ff 90 90":       false,
		"04 81 07 04 82 1fff":                             false,
		"":                                                true,
	} {
		var d hpack.Decoder
		d.Init(4096)
		if _, problem := decode(t, &d, unhex(t, "40 02 6e 6e 02 76 76 40 01 6e 00")); problem != hpack.NoProblem {
			t.Fatal(problem)
		}
		ahead(t, &d, unhex(t, block), exact)
	}
	var d hpack.Decoder
	d.Init(4096)
	if size, found := d.Ahead(unhex(t, "90 90 90 90 90"), 1<<30, 2); size != 3*(15+13+32) || found != 3 {
		t.Errorf("%d bytes in %d fields, want to stop at the third", size, found)
	}
	if size, found := d.Ahead(unhex(t, "90 90 90 90 90"), 60, 1<<30); size != 120 || found != 2 {
		t.Errorf("%d bytes in %d fields, want to stop at the second", size, found)
	}
}

// TestWhatIsEncodedIsDecoded encodes fields of every id and others; x/net reads
// them.
func TestWhatIsEncodedIsDecoded(t *testing.T) {
	block := []byte{hpack.Opening}
	var want []pair
	for status := uint16(100); status < 600; status++ {
		block = hpack.AppendStatus(block, status)
		want = append(want, pair{":status", fmt.Sprint(status), false})
	}
	for id := message.FieldID(1); id.String() != ""; id++ {
		value := strings.Repeat("x", int(id)*3)
		block = hpack.AppendField(block, id, []byte(strings.ToUpper(id.String())), []byte(value), id%2 == 0)
		want = append(want, pair{id.String(), value, id%2 == 0})
	}
	block = hpack.AppendField(block, message.Unnumbered, []byte("X-Mixed-Case"), nil, false)
	block = hpack.AppendNamed(block, hpack.IndexPath, []byte("/x"))
	block = hpack.AppendIndexed(block, hpack.IndexSchemeHTTPS)
	want = append(want, pair{"x-mixed-case", "", false}, pair{":path", "/x", false}, pair{":scheme", "https", false})

	got, err := xhpack.NewDecoder(hpack.DefaultTableSize, nil).DecodeFull(block)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d fields, want %d", len(got), len(want))
	}
	for i, f := range got {
		if p := (pair{f.Name, f.Value, f.Sensitive}); p != want[i] {
			t.Errorf("%v, want %v", p, want[i])
		}
	}
}

// FuzzDecode feeds any blocks to our decoder and to x/net's: the same fields or
// a refusal. Skipping must agree with decoding.
func FuzzDecode(f *testing.F) {
	f.Add(unhex(f, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"), unhex(f, "8286 84be 5886 a8eb 1064 9cbf"))
	f.Add(unhex(f, "203fe11f 4001610162 be"), unhex(f, "be 5f01 78 bf"))
	f.Add(unhex(f, "3f31 4001610162 4001630164 4001650166"), unhex(f, "be bf c0"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var d, skipper hpack.Decoder
		d.Init(256)
		skipper.Init(256)
		other := xhpack.NewDecoder(256, nil)
		for _, block := range [][]byte{first, second, first} {
			rest, problem := skipper.Start(block)
			if problem == hpack.NoProblem {
				_, problem = skipper.Skip(rest, nil, 1<<20)
			}
			var looked hpack.Decoder
			looked.Init(256)
			ahead(t, &looked, block, false)
			if !same(t, &d, other, block) {
				return
			}
			if problem != hpack.NoProblem {
				t.Fatalf("%x is decoded, and skipped with %v", block, problem)
			}
		}
	})
}
