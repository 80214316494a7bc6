package lastgood

import (
	"bytes"
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

// savedCertificate is a configuration with a certificate among others.
func savedCertificate(t testing.TB) (table.Configuration, *certificatetest.Pair) {
	t.Helper()
	p := certificatetest.SelfSigned(t, certificatetest.Options{})
	r := &fleetv1.Resource{
		Kind: proto.String(resource.Certificate), Name: proto.String("site"),
		Spec: &fleetv1.Resource_Certificate{Certificate: &fleetv1.Certificate{Chain: proto.String(p.Chain), Key: proto.String(p.Key)}},
	}
	b, err := resource.Canonical(r)
	if err != nil {
		t.Fatal(err)
	}
	s := saved(t, 9, 3)
	s.Tree = s.Tree.Set(resource.KeyOf(r), b)
	return s, p
}

func TestCertificatesAreSealedInTheFileAndComeBack(t *testing.T) {
	dir := t.TempDir()
	want, pair := savedCertificate(t)
	if err := open(t, dir).write(&want); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if pair.Leaks(text) {
		t.Error("the file holds the private key")
	}
	got, ok := open(t, dir).Load()
	if !ok || got.Tree.Root() != want.Tree.Root() {
		t.Errorf("loaded: %v", ok)
	}
	// Without the key it was written under it is not believed, and replaced later.
	if err := os.Remove(filepath.Join(dir, "seal.key")); err != nil {
		t.Fatal(err)
	}
	other := open(t, dir)
	if _, ok := other.Load(); ok {
		t.Error("loaded under another key")
	}
	if err := other.write(&want); err != nil {
		t.Fatal(err)
	}
	if _, ok := open(t, dir).Load(); !ok {
		t.Error("not loaded after it was written anew")
	}
}

func TestFilesOfTheVersionBeforeAreRead(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	want := saved(t, 3, 1)
	text := f.encode(&want)
	// Version 1 had no byte in front of a resource.
	body := bytes.Clone(text[headSize:])
	at := 8 + 8 + 32 + 8
	body = append(body[:at], body[at+1:]...)
	sum := sha256.Sum256(body)
	old := append([]byte(magic+"\x01"), append(sum[:], body...)...)
	if err := os.WriteFile(filepath.Join(dir, fileName), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, ok := f.Load(); !ok || got.Tree.Root() != want.Tree.Root() {
		t.Error("not read")
	}
}

func TestTicketKeysAreKeptSealed(t *testing.T) {
	dir := t.TempDir()
	key, err := seal.OpenFile(filepath.Join(dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	file := OpenTickets(dir, key, slog.New(slog.NewTextHandler(&log, nil)))
	if file.Load() != nil || log.Len() > 0 {
		t.Errorf("keys from nowhere: %s", &log)
	}
	secret := bytes.Repeat([]byte("ticket keys are here"), 2)[:32]
	want := &fleetv1.TicketKeys{Revision: 5, Keys: [][]byte{secret}}
	if err := file.Write(want); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, ticketsName)
	text, err := os.ReadFile(path)
	if info, statErr := os.Stat(path); err != nil || statErr != nil || bytes.Contains(text, secret) || info.Mode().Perm() != 0o600 {
		t.Errorf("kept in plain, or for everybody: %v %v %v", info, statErr, err)
	}
	if got := file.Load(); !proto.Equal(got, want) {
		t.Error("other keys came back")
	}
	text[len(text)-1] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if file.Load() != nil || !bytes.Contains(log.Bytes(), []byte("not believed")) || bytes.Contains(log.Bytes(), secret) {
		t.Errorf("altered keys: %s", &log)
	}
}
