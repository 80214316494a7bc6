package lastgood

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	membersName  = "expected-members"
	membersMagic = "proxyfleet expected members 1\n"
	// maxMembersFile is far more than the longest list takes.
	maxMembersFile = 1 << 20
)

// Members are the list of expected members that a node grants virtual IPs by.
type Members struct {
	Lineage, Revision uint64
	IDs               []string
}

// Follows says whether a node that goes by m may go by next: within a lineage it
// goes forward only.
func (m Members) Follows(next Members) bool {
	return next.Revision != 0 && (next.Lineage != m.Lineage || next.Revision > m.Revision)
}

// LoadMembers reads the list that SaveMembers kept in a directory; none: the zero
// Members. A damaged file is an error.
func LoadMembers(dir string) (Members, error) {
	path := filepath.Join(dir, membersName)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Members{}, nil
	case err != nil:
		return Members{}, err
	case info.Size() > maxMembersFile:
		return Members{}, fmt.Errorf("%s: %d bytes, at most %d are read", path, info.Size(), maxMembersFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Members{}, err
	}
	m, ok := decodeMembers(text)
	if !ok {
		return Members{}, fmt.Errorf("%s: %w", path, errDamaged)
	}
	return m, nil
}

// SaveMembers keeps a list: when it returns nil, LoadMembers will return that,
// whatever happens to the machine.
func SaveMembers(dir string, m Members) error {
	if err := replace(dir, membersName, encodeMembers(m), func() error { return nil }); err != nil {
		return fmt.Errorf("list of expected members: %w", err)
	}
	return nil
}

// encodeMembers is magic, checksum of the rest, lineage, revision, and the ids
// behind their length.
func encodeMembers(m Members) []byte {
	rest := binary.BigEndian.AppendUint64(nil, m.Lineage)
	rest = binary.BigEndian.AppendUint64(rest, m.Revision)
	for _, id := range m.IDs {
		rest = binary.AppendUvarint(rest, uint64(len(id)))
		rest = append(rest, id...)
	}
	sum := sha256.Sum256(rest)
	return append(append([]byte(membersMagic), sum[:]...), rest...)
}

func decodeMembers(text []byte) (m Members, ok bool) {
	rest, ok := bytes.CutPrefix(text, []byte(membersMagic))
	if !ok || len(rest) < sha256.Size+16 {
		return m, false
	}
	sum := sha256.Sum256(rest[sha256.Size:])
	if !bytes.Equal(sum[:], rest[:sha256.Size]) {
		return m, false
	}
	rest = rest[sha256.Size:]
	m.Lineage, m.Revision = binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:])
	for rest = rest[16:]; len(rest) > 0; {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return Members{}, false
		}
		rest = rest[n:]
		m.IDs = append(m.IDs, string(rest[:size]))
		rest = rest[size:]
	}
	return m, true
}
