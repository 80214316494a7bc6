package lastgood

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

func TestAListIsKeptWholeOrNotBelieved(t *testing.T) {
	dir := t.TempDir()
	if m, err := LoadList(dir); err != nil || !reflect.DeepEqual(m, member.List{}) {
		t.Errorf("before the first: %+v %v", m, err)
	}
	for _, want := range []member.List{
		{Lineage: 7, Revision: 1, IDs: []string{"a"}},
		{Lineage: 7, Revision: 1_800_000_000_000, IDs: []string{"a", "b-with-a-longer-name", "c"}},
		{Lineage: 8, Revision: 3},
	} {
		if err := SaveList(dir, want); err != nil {
			t.Fatal(err)
		}
		if m, err := LoadList(dir); err != nil || !reflect.DeepEqual(m, want) {
			t.Errorf("%+v %v, want %+v", m, err, want)
		}
	}
	path := filepath.Join(dir, listName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		damaged := append([]byte(nil), text...)
		damaged[i] ^= 1
		for _, part := range [][]byte{damaged, text[:i]} {
			if _, ok := decodeList(part); ok {
				t.Errorf("damaged at byte %d, and believed", i)
			}
		}
	}
	if err := os.WriteFile(path, text[:len(text)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadList(dir); err == nil {
		t.Error("a file that was cut short is believed")
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files", len(files))
	}
}

// FuzzList gives each input the checksum without which nothing of it is looked at.
func FuzzList(f *testing.F) {
	for _, l := range []member.List{{}, {Lineage: 7, Revision: 1, IDs: []string{"a", "b-with-a-longer-name", ""}}} {
		f.Add(encodeList(l)[len(listMagic)+sha256.Size:])
	}
	f.Fuzz(func(t *testing.T, rest []byte) {
		sum := sha256.Sum256(rest)
		l, ok := decodeList(append(append([]byte(listMagic), sum[:]...), rest...))
		if !ok {
			return
		}
		bytes := 16 + len(l.IDs)
		for _, id := range l.IDs {
			bytes += len(id)
		}
		if bytes > len(rest) {
			t.Errorf("%d ids were read out of %d bytes", len(l.IDs), len(rest))
		}
		if again, ok := decodeList(encodeList(l)); !ok || !reflect.DeepEqual(again, l) {
			t.Errorf("%+v is written as %+v, %t", l, again, ok)
		}
	})
}
