package gossip

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// key is the line of a key.
func key(n byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, keySize)) + "\n"
}

func mustKeys(t *testing.T, text string) Keys {
	t.Helper()
	k, err := ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysAreOneALine(t *testing.T) {
	k := mustKeys(t, "# in use\n"+key(1)+"\n  "+key(2))
	if len(k.list) != 2 || k.list[0][0] != 1 || k.list[1][0] != 2 {
		t.Errorf("keys are %v", k.list)
	}
	short := base64.StdEncoding.EncodeToString([]byte("too short"))
	for text, want := range map[string]string{
		"":                               "no key",
		"# none\n":                       "no key",
		key(1) + "secret":                "line 2: expected a key of 32 bytes in base64",
		short:                            "line 1: key of 9 bytes",
		strings.Repeat(key(1), 9):        "line 9: more than 8 keys",
		strings.TrimRight(key(1), "=\n"): "line 1: expected a key",
	} {
		_, err := ParseKeys(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), short)) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	k := mustKeys(t, key(7))
	if s := fmt.Sprintf("%v %+v %#v %s", k, Config{Keys: k}, k, k); strings.Contains(s, "7, 7") || strings.Contains(s, "7 7") || strings.Contains(s, "0x7") {
		t.Error(s)
	}
}

func TestAKeyFileIsItsOwnersAlone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "gossip.key")
	if err := os.WriteFile(name, []byte(key(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := ReadKeyFile(name)
	if err != nil || len(k.list) != 1 {
		t.Fatal(k, err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(name, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKeyFile(name); err == nil || !strings.Contains(err.Error(), "0640 lets others read it") {
			t.Errorf("a file that others may read: %v", err)
		}
	}
	if _, err := ReadKeyFile(name + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := ReadKeyFile(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeyFile(empty); err == nil || !strings.Contains(err.Error(), "no key in it") {
		t.Errorf("an empty file: %v", err)
	}
}

// FuzzKeys: a file is read whole or refused, and a refusal says nothing of what stands
// in it.
func FuzzKeys(f *testing.F) {
	for _, text := range []string{"", "# in use\n" + key(1) + "\r\n  " + key(2), key(1) + "secret", strings.Repeat(key(1), maxKeys+1), "c2hvcnQ=\n"} {
		f.Add(text)
	}
	refusal := regexp.MustCompile(`^(no key in it|line \d+: (expected a key of 32 bytes in base64|key of \d+ bytes, expected 32 in base64|more than 8 keys))$`)
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKeys(text)
		if err != nil {
			if !k.IsZero() || !refusal.MatchString(err.Error()) {
				t.Errorf("%s, %v", k, err)
			}
			return
		}
		if len(k.list) < 1 || len(k.list) > maxKeys || k.ring() == nil {
			t.Fatalf("%s of %d lines", k, strings.Count(text, "\n"))
		}
		var again strings.Builder
		for _, key := range k.list {
			again.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
		}
		if same, err := ParseKeys(again.String()); err != nil || !slices.EqualFunc(same.list, k.list, bytes.Equal) {
			t.Errorf("%s are written as %s, %v", k, same, err)
		}
	})
}
