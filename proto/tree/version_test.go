package tree

import (
	"strings"
	"testing"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

func TestAVersionComesBackFromItsMessage(t *testing.T) {
	for text, v := range map[string]Version{
		"none":                             {},
		"1/0/" + EmptyRoot().Short():       {Epoch: 1, Root: EmptyRoot()},
		"7/12/" + Sum([]byte("x")).Short(): {Epoch: 7, Revision: 12, Root: Sum([]byte("x"))},
	} {
		if back, err := VersionFromProto(v.Proto()); err != nil || back != v || v.String() != text {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	if v := (Version{}); v.Proto() != nil {
		t.Error("none is a message")
	}
	for _, digest := range [][]byte{nil, []byte("short")} {
		_, err := VersionFromProto(&fleetv1.Version{Epoch: 1, Revision: 2, Digest: digest})
		if err == nil || !strings.Contains(err.Error(), "version 1/2: ") {
			t.Errorf("digest %q: %v", digest, err)
		}
	}
}
