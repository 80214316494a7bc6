package http1_test

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/http1/http1test"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// FuzzReader feeds any input to both roles: it is read as messages or refused
// once, with the same outcome however it is cut, and never consumes what it
// was not given. play checks each event.
func FuzzReader(f *testing.F) {
	for _, c := range http1test.Cases() {
		if len(c.Input) < 4096 {
			f.Add([]byte(c.Input), uint8(c.Role), uint8(c.Asked), uint8(7), uint8(0))
		}
	}
	f.Fuzz(func(t *testing.T, input []byte, role, asked, cut, limit uint8) {
		if len(input) > 16<<10 {
			return
		}
		limits := http1.Limits{HeadBytes: int(limit) * 8, Fields: int(limit) / 4}
		who, method := http1.Role(role&1), message.Method(asked%10)
		whole := play(t, who, method, input, limits, len(input)+1)
		for _, sizes := range [][]int{{1}, {int(cut) + 1, len(input) + 1}, {int(cut)%13 + 2}} {
			if split := play(t, who, method, input, limits, sizes...); !split.equal(whole) {
				t.Errorf("cut by %v: %+v, whole: %+v", sizes, split, whole)
			}
		}
		if whole.consumed > len(input) {
			t.Errorf("consumed %d of %d bytes", whole.consumed, len(input))
		}
		for _, m := range whole.messages {
			if who == http1.Server && len(m.Line) < 3 {
				t.Errorf("message %+v without a start line", m)
			}
		}
	})
}
