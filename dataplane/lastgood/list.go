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

	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/proto/durable"
)

const (
	listName  = "expected-members"
	listMagic = "proxyfleet expected members 1\n"
	// maxListFile is far more than the longest list takes.
	maxListFile = 1 << 20
)

// LoadList reads the list that SaveList kept in a directory; none: the zero
// List. A damaged file is an error.
func LoadList(dir string) (member.List, error) {
	path := filepath.Join(dir, listName)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return member.List{}, nil
	case err != nil:
		return member.List{}, err
	case info.Size() > maxListFile:
		return member.List{}, fmt.Errorf("%s: %d bytes, at most %d are read", path, info.Size(), maxListFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return member.List{}, err
	}
	l, ok := decodeList(text)
	if !ok {
		return member.List{}, fmt.Errorf("%s: %w", path, errDamaged)
	}
	return l, nil
}

// SaveList keeps a list: when it returns nil, LoadList will return that,
// whatever happens to the machine.
func SaveList(dir string, l member.List) error {
	if err := durable.Replace(filepath.Join(dir, listName), encodeList(l), nil); err != nil {
		return fmt.Errorf("list of expected members: %w", err)
	}
	return nil
}

// ForgetList takes back what SaveList kept: when it returns nil, LoadList finds nothing,
// whatever happens to the machine.
func ForgetList(dir string) error {
	if err := durable.Remove(filepath.Join(dir, listName)); err != nil {
		return fmt.Errorf("list of expected members: %w", err)
	}
	return nil
}

// encodeList is magic, checksum of the rest, lineage, revision, and the ids
// behind their length.
func encodeList(l member.List) []byte {
	rest := binary.BigEndian.AppendUint64(nil, l.Lineage)
	rest = binary.BigEndian.AppendUint64(rest, l.Revision)
	for _, id := range l.IDs {
		rest = binary.AppendUvarint(rest, uint64(len(id)))
		rest = append(rest, id...)
	}
	sum := sha256.Sum256(rest)
	return append(append([]byte(listMagic), sum[:]...), rest...)
}

func decodeList(text []byte) (l member.List, ok bool) {
	rest, ok := bytes.CutPrefix(text, []byte(listMagic))
	if !ok || len(rest) < sha256.Size+16 {
		return l, false
	}
	sum := sha256.Sum256(rest[sha256.Size:])
	if !bytes.Equal(sum[:], rest[:sha256.Size]) {
		return l, false
	}
	rest = rest[sha256.Size:]
	l.Lineage, l.Revision = binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:])
	for rest = rest[16:]; len(rest) > 0; {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return member.List{}, false
		}
		rest = rest[n:]
		l.IDs = append(l.IDs, string(rest[:size]))
		rest = rest[size:]
	}
	return l, true
}
