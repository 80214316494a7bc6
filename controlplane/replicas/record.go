package replicas

import (
	"bytes"
	"cmp"
	"compress/flate"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// groups is into how many records the nodes of a control plane are divided: of 1,000
	// nodes each has 16, which take a kilobyte, and of a few each has one.
	groups = 64
	// maxRecord bounds a record. A group of the largest control plane, 160 nodes, takes a
	// tenth of it.
	maxRecord = 512 << 10
	// maxPlain bounds a record before it is compressed.
	maxPlain = 64 << 20
	// maxProblems bounds the problems of one node: no more are shown of one.
	maxProblems = 21
)

// The kinds of records.
const (
	kindSelf  = "self"
	kindNodes = "nodes"
	kindVIPs  = "vips"
)

// groupOf is the group of a node: FNV-1a of its id.
func groupOf(node string) int {
	h := uint32(2166136261)
	for i := range len(node) {
		h = (h ^ uint32(node[i])) * 16777619
	}
	return int(h % groups)
}

// nameOf is the name of a control plane's record of a group.
func nameOf(plane, kind string, group int) string {
	return fmt.Sprintf("%s/%s/%02x", plane, kind, group)
}

// parseName is the inverse, without the group. ok: it is such a name.
func parseName(name string) (plane, kind string, ok bool) {
	plane, rest, ok := strings.Cut(name, "/")
	kind, _, _ = strings.Cut(rest, "/")
	return plane, kind, ok && plane != ""
}

// packer makes records. It keeps what it needs for that.
type packer struct {
	deflate *flate.Writer
	out     bytes.Buffer
}

// pack compresses a message: the nodes of a record mostly say the same.
func (p *packer) pack(m proto.Message) ([]byte, error) {
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	p.out.Reset()
	if p.deflate == nil {
		if p.deflate, err = flate.NewWriter(&p.out, flate.DefaultCompression); err != nil {
			return nil, err
		}
	} else {
		p.deflate.Reset(&p.out)
	}
	if _, err := p.deflate.Write(plain); err != nil {
		return nil, err
	}
	if err := p.deflate.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(p.out.Bytes()), nil
}

// unpack is the inverse.
func unpack(record []byte, into proto.Message) error {
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(record)), maxPlain+1))
	if err != nil {
		return err
	}
	if len(plain) > maxPlain {
		return fmt.Errorf("more than %d bytes", maxPlain)
	}
	return proto.Unmarshal(plain, into)
}

// sightings is the record of nodes. Where it would be too large it has of each node fewer
// problems, or none.
func (p *packer) sightings(here []nodes.Here) (record []byte, err error) {
	m := &fleetv1.SightingsRecord{}
	for _, n := range here {
		m.Nodes = append(m.Nodes, n.Sighting)
	}
	for _, most := range []int{maxProblems, 1, 0} {
		for _, n := range m.Nodes {
			n.Problems = n.Problems[:min(len(n.Problems), most)]
		}
		if record, err = p.pack(m); err != nil || len(record) <= maxRecord {
			return record, err
		}
	}
	return nil, fmt.Errorf("%d bytes of %d nodes: at most %d", len(record), len(here), maxRecord)
}

// reports is the record of what nodes report of virtual IPs; nil: nothing.
func (p *packer) reports(here []nodes.Here) ([]byte, error) {
	m := &fleetv1.VipSightingsRecord{}
	for _, n := range here {
		if len(n.VIPs) == 0 {
			continue
		}
		for _, v := range n.VIPs {
			m.Reports = append(m.Reports, &fleetv1.VipSightingsRecord_Report{Node: uint32(len(m.Nodes)), Status: v}) //nolint:gosec // of a bounded number
		}
		m.Nodes = append(m.Nodes, n.ID)
	}
	if len(m.Nodes) == 0 {
		return nil, nil
	}
	slices.SortStableFunc(m.Reports, func(a, b *fleetv1.VipSightingsRecord_Report) int {
		return cmp.Compare(a.GetStatus().GetVip(), b.GetStatus().GetVip())
	})
	record, err := p.pack(m)
	if err == nil && len(record) > maxRecord {
		err = fmt.Errorf("%d bytes of %d nodes' virtual IPs: at most %d", len(record), len(m.Nodes), maxRecord)
	}
	return record, err
}

// readSightings reads a record that was written at a revision.
func readSightings(record []byte, revision int64) (told []*nodes.Told, err error) {
	m := &fleetv1.SightingsRecord{}
	if err := unpack(record, m); err != nil {
		return nil, err
	}
	for _, s := range m.GetNodes() {
		t, err := nodes.NewTold(s, revision)
		if err != nil {
			return nil, err
		}
		told = append(told, t)
	}
	return told, nil
}

// readReports reads a record, by node.
func readReports(record []byte) (map[string]*nodes.Reports, error) {
	m := &fleetv1.VipSightingsRecord{}
	if err := unpack(record, m); err != nil {
		return nil, err
	}
	reports := make([]nodes.Reports, len(m.GetNodes()))
	for _, r := range m.GetReports() {
		if int(r.GetNode()) >= len(reports) {
			return nil, fmt.Errorf("a report of node %d of %d", r.GetNode(), len(reports))
		}
		of := &reports[r.GetNode()]
		of.VIPs = append(of.VIPs, r.GetStatus())
	}
	by := make(map[string]*nodes.Reports, len(reports))
	for i, id := range m.GetNodes() {
		by[id] = &reports[i]
	}
	return by, nil
}
