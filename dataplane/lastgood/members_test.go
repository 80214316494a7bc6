package lastgood

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestAListIsKeptWholeOrNotBelieved(t *testing.T) {
	dir := t.TempDir()
	if m, err := LoadMembers(dir); err != nil || !reflect.DeepEqual(m, Members{}) {
		t.Errorf("before the first: %+v %v", m, err)
	}
	for _, want := range []Members{
		{Lineage: 7, Revision: 1, IDs: []string{"a"}},
		{Lineage: 7, Revision: 1_800_000_000_000, IDs: []string{"a", "b-with-a-longer-name", "c"}},
		{Lineage: 8, Revision: 3},
	} {
		if err := SaveMembers(dir, want); err != nil {
			t.Fatal(err)
		}
		if m, err := LoadMembers(dir); err != nil || !reflect.DeepEqual(m, want) {
			t.Errorf("%+v %v, want %+v", m, err, want)
		}
	}
	path := filepath.Join(dir, membersName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		damaged := append([]byte(nil), text...)
		damaged[i] ^= 1
		for _, part := range [][]byte{damaged, text[:i]} {
			if _, ok := decodeMembers(part); ok {
				t.Errorf("damaged at byte %d, and believed", i)
			}
		}
	}
	if err := os.WriteFile(path, text[:len(text)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadMembers(dir); err == nil {
		t.Error("a file that was cut short is believed")
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files", len(files))
	}
}

func TestListsGoForwardWithinALineage(t *testing.T) {
	have := Members{Lineage: 7, Revision: 5}
	for _, c := range []struct {
		next Members
		want bool
	}{
		{Members{Lineage: 7, Revision: 6}, true},
		{Members{Lineage: 7, Revision: 5}, false},
		{Members{Lineage: 7, Revision: 4}, false},
		{Members{Lineage: 8, Revision: 1}, true},
		{Members{Lineage: 8}, false},
		{Members{}, false},
	} {
		if got := have.Follows(c.next); got != c.want {
			t.Errorf("%+v: %v", c.next, got)
		}
	}
	if !(Members{}).Follows(Members{Revision: 1}) {
		t.Error("the first list is not taken")
	}
}
