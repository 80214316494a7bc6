package lastgood

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

func TestADecisionIsKept(t *testing.T) {
	dir := t.TempDir()
	if got, err := LoadDecision(dir); got != (member.Decision{}) || err != nil {
		t.Errorf("of nothing: %+v, %v", got, err)
	}
	for _, want := range []member.Decision{
		{Number: 7, Drained: true},
		{Number: 8, Drained: true, NotExpected: true},
		{Number: 9},
		{Number: 10, NotExpected: true},
		{Number: 1<<64 - 1, Drained: true},
		{Drained: true}, // of a control plane that gives no numbers
		{},
	} {
		if err := SaveDecision(dir, want, "proxyctl undrain n"); err != nil {
			t.Fatal(err)
		}
		if got, err := LoadDecision(dir); got != want || err != nil {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
}

// TestWhatABuildBeforeKeptIsRead: it made an empty mark of being drained, with a note.
func TestWhatABuildBeforeKeptIsRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, drainedName, "proxyctl undrain n\n")
	if got, err := LoadDecision(dir); got != (member.Decision{Drained: true}) || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestOfTwoDecisionsTheLaterIsBelieved: the machine stopped between the two steps by which
// one takes the other's place.
func TestOfTwoDecisionsTheLaterIsBelieved(t *testing.T) {
	for _, c := range []struct {
		drained, undrained string
		want               member.Decision
	}{
		{"undrain\ndecision 7\n", "decision 8\n", member.Decision{Number: 8}},
		{"undrain\ndecision 9\n", "decision 8\n", member.Decision{Number: 9, Drained: true}},
		{"undrain\ndecision 8\n", "decision 8\n", member.Decision{Number: 8, Drained: true}},
		{"undrain\n", "decision 8\nnot expected\n", member.Decision{Number: 8, NotExpected: true}},
	} {
		dir := t.TempDir()
		write(t, dir, drainedName, c.drained)
		write(t, dir, undrainedName, c.undrained)
		if got, err := LoadDecision(dir); got != c.want || err != nil {
			t.Errorf("%q and %q: %+v, %v; want %+v", c.drained, c.undrained, got, err, c.want)
		}
	}
}

func TestADamagedDecisionIsAnError(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, undrainedName, "decision x\n")
	if got, err := LoadDecision(dir); got != (member.Decision{}) || err == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzDecision(f *testing.F) {
	for _, text := range []string{"", "proxyctl undrain n\ndecision 7\n", "decision 18446744073709551615\nnot expected\n", "decision 1\r\n", "decision 1\ndecision x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDecision(text)
		if err != nil {
			return
		}
		// A note before it changes nothing, be it that of a node of any name.
		if again, err := parseDecision(string(appendDecision([]byte("proxyctl undrain n\n"), d))); err != nil || again != d {
			t.Errorf("%+v is written as %+v, %v", d, again, err)
		}
	})
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
