package lastgood

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/dataplane/permit/permittest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/seal"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"google.golang.org/protobuf/proto"
)

func saved(t testing.TB, revision uint64, n int) table.Configuration {
	t.Helper()
	var tr tree.Tree
	for i := range n {
		r := &fleetv1.Resource{
			Kind: proto.String("Upstream"), Name: proto.String(fmt.Sprintf("u%d-%d", revision, i)),
			Spec: &fleetv1.Resource_Upstream{Upstream: &fleetv1.Upstream{Endpoints: []*fleetv1.Endpoint{{Address: proto.String("127.0.0.1:80")}}}},
		}
		b, err := resource.Canonical(r)
		if err != nil {
			t.Fatal(err)
		}
		tr = tr.Set(resource.KeyOf(r), b)
	}
	return table.Configuration{Version: table.Version{Epoch: 7, Revision: revision}, Tree: tr}
}

func open(t testing.TB, dir string) *File {
	t.Helper()
	key, err := seal.OpenFile(filepath.Join(dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir, key, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWhatWasSavedIsLoaded(t *testing.T) {
	for _, n := range []int{0, 1, 500} {
		dir := t.TempDir()
		want := saved(t, 3, n)
		if err := open(t, dir).write(&want); err != nil {
			t.Fatal(err)
		}
		got, ok := open(t, dir).Load()
		if !ok || got.Version != want.Version || got.Tree.Root() != want.Tree.Root() || got.Tree.Len() != n {
			t.Errorf("%d resources: %v %v", n, ok, got.Version)
		}
		info, err := os.Stat(filepath.Join(dir, fileName))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
	}
}

func TestADamagedFileIsRefusedAndTheOlderOneKept(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	older, newer := saved(t, 1, 5), saved(t, 2, 5)
	for _, s := range []table.Configuration{older, newer} {
		if err := f.write(&s); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damage := func(name string, text []byte) {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, ok := open(t, dir).Load(); !ok || got.Version != older.Version {
				t.Errorf("loaded %v %v", ok, got.Version)
			}
		})
	}
	for i := 0; i < len(whole); i += 7 {
		flipped := append([]byte(nil), whole...)
		flipped[i] ^= 1 << (i % 8)
		damage(fmt.Sprint("bit in byte ", i), flipped)
	}
	for i := 0; i < len(whole); i += 31 {
		damage(fmt.Sprint("cut at ", i), whole[:i])
	}
	damage("longer", append(append([]byte(nil), whole...), 0))
}

// TestADamagedFileDoesNotTakeThePlaceOfTheOlderOneThatIsWhole: a disk that damages one
// file may damage another.
func TestADamagedFileDoesNotTakeThePlaceOfTheOlderOneThatIsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	damage := func() {
		t.Helper()
		if err := os.Truncate(path, 10); err != nil {
			t.Fatal(err)
		}
	}
	keep := func(f *File, revision uint64) {
		t.Helper()
		f.Save(saved(t, revision, 3))
		if !f.flush() {
			t.Fatal("not written")
		}
	}
	f := open(t, dir)
	keep(f, 1)
	keep(f, 2)
	damage()
	f = open(t, dir)
	if got, ok := f.Load(); !ok || got.Version.Revision != 1 {
		t.Fatalf("%v %v", ok, got.Version)
	}
	keep(f, 3)
	damage()
	f = open(t, dir)
	if got, ok := f.Load(); !ok || got.Version.Revision != 1 {
		t.Fatalf("the whole file is gone: %v %v", ok, got.Version)
	}
	keep(f, 4)
	keep(f, 5)
	damage()
	if got, ok := open(t, dir).Load(); !ok || got.Version.Revision != 4 {
		t.Fatalf("%v %v", ok, got.Version)
	}
}

func TestOfManyOnlyTheNewestIsWritten(t *testing.T) {
	dir := t.TempDir()
	states := make([]table.Configuration, 20)
	for i := range states {
		states[i] = saved(t, uint64(i+1), 3)
	}
	synctest.Test(t, func(t *testing.T) {
		f := open(t, dir)
		stop := lifecycletest.Run(t, f.Run)
		for _, s := range states {
			f.Save(s)
		}
		time.Sleep(3 * Pause)
		if got, ok := open(t, dir).Load(); !ok || got.Version.Revision != 20 {
			t.Errorf("%v %v", ok, got.Version)
		}
		// What comes just before the end is written at the end.
		f.Save(states[4])
		stop()
		if got, _ := open(t, dir).Load(); got.Version.Revision != 5 {
			t.Errorf("%v", got.Version)
		}
	})
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 3 { // two files and the key
		t.Errorf("files left: %v %v", left, err)
	}
}

// fill lets nothing be made in a directory, by root either, until the function that it
// returns is called.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	away := dir + ".away"
	err := os.Rename(dir, away)
	if err == nil {
		err = os.Symlink("nowhere", dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		err := os.Remove(dir)
		if err == nil {
			err = os.Rename(away, dir)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestADirectoryThatIsDeletedUnderTheNodeIsMadeAgain, with the key of what is sealed in it.
func TestADirectoryThatIsDeletedUnderTheNodeIsMadeAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "states", "node")
	f := open(t, dir)
	before, after := saved(t, 1, 3), saved(t, 2, 3)
	secret, _ := savedCertificate(t)
	after.Tree = secret.Tree
	keys := &fleetv1.TicketKeys{Revision: 5}
	for name, write := range map[string]func() error{
		"the configuration": func() error { return f.write(&after) },
		"ticket keys":       func() error { return OpenTickets(dir, f.key, f.logger).Write(keys) },
		"the list":          func() error { return SaveList(dir, member.List{Revision: 3}) },
		"a decision":        func() error { return SaveDecision(dir, member.Decision{Number: 4, Drained: true}, "") },
	} {
		t.Run(name, func(t *testing.T) {
			if err := f.write(&before); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
				t.Fatal(err)
			}
			if err := write(); err != nil {
				t.Fatal(err)
			}
			next := open(t, dir) // the node, when it starts again
			configuration, _ := next.Load()
			list, err := LoadList(dir)
			decision, failed := LoadDecision(dir)
			if err != nil || failed != nil {
				t.Fatal(err, failed)
			}
			kept := configuration.Tree.Root() == after.Tree.Root() || list.Revision == 3 || decision.Number == 4 ||
				proto.Equal(OpenTickets(dir, next.key, next.logger).Load(), keys)
			if !kept {
				t.Error("it is not kept")
			}
		})
	}
}

// TestADiskThatWasFullGetsWhatItDidNotTake, without another configuration coming or an
// upgrade: a node that is killed starts with it.
func TestADiskThatWasFullGetsWhatItDidNotTake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, second := saved(t, 1, 3), saved(t, 2, 3)
	synctest.Test(t, func(t *testing.T) {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		f := open(t, dir)
		lifecycletest.Run(t, f.Run)
		f.Save(first)
		time.Sleep(2 * Pause)
		free := fill(t, dir)
		f.Save(second)
		time.Sleep(time.Hour)
		synctest.Wait() // or it may write in between
		free()
		time.Sleep(2 * retry)
		if got, ok := open(t, dir).Load(); !ok || got.Version != second.Version {
			t.Errorf("%v %v", ok, got.Version)
		}
	})
}

func TestWhatAKilledProcessLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	for revision := range uint64(2) {
		s := saved(t, revision, 1)
		if err := f.write(&s); err != nil {
			t.Fatal(err)
		}
	}
	if err := SaveList(dir, member.List{Revision: 1}); err != nil {
		t.Fatal(err)
	}
	half := func(name string, age time.Duration) {
		path := filepath.Join(dir, name)
		err := os.WriteFile(path, []byte("half"), 0o600)
		if err == nil {
			err = os.Chtimes(path, time.Time{}, time.Now().Add(-age))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	half(fileName+".123", 0)
	for _, name := range []string{listName, drainedName, undrainedName, ticketsName} {
		half(name+".123", time.Hour)
	}
	half(listName+".456", 0) // which the process before this one may be writing
	open(t, dir)
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{listName, listName + ".456", fileName, oldName, "seal.key"}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("%q, %v, expected %q", names, err, want)
	}
}

// TestAFileIsMadeWithThePermitWhichOthersHaveInBetween: that of a large configuration takes a
// tenth of a second, after each change of it.
func TestAFileIsMadeWithThePermitWhichOthersHaveInBetween(t *testing.T) {
	f, permit := open(t, t.TempDir()), &permittest.Counting{T: t}
	f.permit = permit
	large := saved(t, 1, 20_000)
	text := f.encode(&large)
	if permit.Held || permit.Times < 3 {
		t.Errorf("held %v, acquired %d times", permit.Held, permit.Times)
	}
	if got, err := f.decode(text); err != nil || got.Tree.Root() != large.Tree.Root() {
		t.Errorf("%v", err)
	}
}

// FuzzDecode gives each input the checksum without which nothing of it is looked at.
func FuzzDecode(f *testing.F) {
	s := saved(f, 1, 3)
	file := open(f, f.TempDir())
	f.Add(byte(version), file.encode(&s)[headSize:])
	withSecret, _ := savedCertificate(f)
	f.Add(byte(version), file.encode(&withSecret)[headSize:])
	empty := table.Configuration{}
	f.Add(byte(1), file.encode(&empty)[headSize:])
	f.Fuzz(func(t *testing.T, number byte, rest []byte) {
		sum := sha256.Sum256(rest)
		text := append(append(append([]byte(magic), number), sum[:]...), rest...)
		got, err := file.decode(text)
		if err != nil {
			return
		}
		if number < 1 || number > version {
			t.Errorf("a file of version %d was read", number)
		}
		again, err := file.decode(file.encode(&got))
		if err != nil || again.Version != got.Version || again.Tree.Root() != got.Tree.Root() {
			t.Errorf("what was decoded is written as something else: %v", err)
		}
	})
}
