package http2

import (
	"bytes"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// TestNoControlByteHidesInALongValue: values are looked at eight bytes at a time, and the
// next hop may speak HTTP/1.1, where a CR or LF would begin another field.
func TestNoControlByteHidesInALongValue(t *testing.T) {
	for length := 1; length <= 26; length++ {
		for at := range length {
			for _, others := range []byte{'x', 0xe4, '\t'} {
				value := bytes.Repeat([]byte{others}, length)
				value[0], value[length-1] = 'a', 'z'
				for c := range 256 {
					value[at] = byte(c)
					edge := at == 0 || at == length-1
					want := message.IsValueByte(byte(c)) && (!edge || c != ' ' && c != '\t')
					if got := validValue(value); got != want {
						t.Fatalf("%q: %v, want %v", value, got, want)
					}
				}
			}
		}
	}
}
