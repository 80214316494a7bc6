package tree

import (
	"fmt"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// Version names one configuration in one history. The zero Version means none:
// nothing runs, or nothing is wanted yet.
type Version struct {
	Epoch    uint64
	Revision uint64
	Root     Hash
}

// IsZero reports whether v names nothing.
func (v Version) IsZero() bool { return v == Version{} }

// String is "epoch/revision/first digits of the root".
func (v Version) String() string {
	if v.IsZero() {
		return "none"
	}
	return fmt.Sprintf("%d/%d/%s", v.Epoch, v.Revision, v.Root.Short())
}

// Proto is v as messages carry it; nil for none.
func (v Version) Proto() *fleetv1.Version {
	if v.IsZero() {
		return nil
	}
	return &fleetv1.Version{Epoch: v.Epoch, Revision: v.Revision, Digest: v.Root[:]}
}

// VersionFromProto is the inverse; a malformed one is an error.
func VersionFromProto(v *fleetv1.Version) (Version, error) {
	if v == nil {
		return Version{}, nil
	}
	root, err := HashFromBytes(v.GetDigest())
	if err != nil {
		return Version{}, fmt.Errorf("version %d/%d: %w", v.GetEpoch(), v.GetRevision(), err)
	}
	return Version{Epoch: v.GetEpoch(), Revision: v.GetRevision(), Root: root}, nil
}
