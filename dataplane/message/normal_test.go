package message

import (
	"bytes"
	"strings"
	"testing"
)

var allPathOptions = []PathOptions{{}, {MergeSlashes: true}, {RejectEscapedSlashes: true}, {MergeSlashes: true, RejectEscapedSlashes: true}}

// The paths of package http1test are run by http1's tests. These are the ones
// that no request brings, because the codec refuses them.
func TestNormalPathOfWhatNoTargetHolds(t *testing.T) {
	for raw, want := range map[string]PathProblem{
		"a": PathNotAbsolute, "*": PathNotAbsolute, "%2f": PathNotAbsolute,
		"/a b": PathBadByte, "/a\x00b": PathBadByte, "/a\nb": PathBadByte, "/a\x7f": PathBadByte,
		"/caf\xc3\xa9": PathBadByte, "/a?b": PathBadByte, "/a#b": PathBadByte,
	} {
		if path, _, problem := NormalPath([]byte(raw), nil, PathOptions{}); problem != want || path != nil {
			t.Errorf("%q: %q, %v, want %v", raw, path, problem, want)
		}
	}
	if path, _, problem := NormalPath(nil, nil, PathOptions{}); string(path) != "/" || problem != PathOK {
		t.Errorf("empty path: %q, %v", path, problem)
	}
}

func TestNormalPathReturnsRawWhenItIsNormal(t *testing.T) {
	for _, raw := range []string{"/", "/a/b", "/a%2Fb", "/.well-known/x", "/a//b", "/...", "/%C3%A9"} {
		in := []byte(raw)
		scratch := make([]byte, 0, 64)
		path, newScratch, _ := NormalPath(in, scratch, PathOptions{})
		if &path[0] != &in[0] || len(path) != len(in) || cap(newScratch) != 64 {
			t.Errorf("%q: copied", raw)
		}
	}
}

func TestNormalPathReusesScratch(t *testing.T) {
	in := []byte("/a/../%7e" + strings.Repeat("|", 100))
	_, scratch, _ := NormalPath(in, nil, PathOptions{})
	if n := testing.AllocsPerRun(100, func() {
		_, scratch, _ = NormalPath(in, scratch, PathOptions{})
	}); n != 0 {
		t.Errorf("%v allocations with a grown scratch", n)
	}
	plain := []byte("/a/b/c")
	if n := testing.AllocsPerRun(100, func() {
		NormalPath(plain, nil, PathOptions{})
	}); n != 0 {
		t.Errorf("%v allocations for a normal path", n)
	}
}

// FuzzNormalPath: the normal form of a normal form is itself, without raw NUL,
// backslash or dot segment, and it has no shorter spelling of what was escaped.
func FuzzNormalPath(f *testing.F) {
	for _, seed := range []string{"/", "/a/../b", "/%2e%2e/", "//a//..//b/.", "/%2f%5C%00", "/a%zz", "/\\", "/[]|", "/a/./%2E%2e;/..%2f"} {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, raw []byte, option uint8) {
		o := allPathOptions[option&3]
		path, _, problem := NormalPath(raw, nil, o)
		if problem != PathOK {
			if path != nil || problem.String() == "unknown" {
				t.Errorf("%q: %v with a path", raw, problem)
			}
			return
		}
		again, scratch, problem := NormalPath(path, nil, o)
		if problem != PathOK || !bytes.Equal(again, path) {
			t.Errorf("%q: normal form %q becomes %q, %v", raw, path, again, problem)
		}
		if scratch != nil {
			t.Errorf("%q: normal form %q is not taken for one", raw, path)
		}
		if path[0] != '/' || bytes.ContainsAny(path, "\x00\\?#|[]{} \"") {
			t.Errorf("%q: %q", raw, path)
		}
		for segment := range bytes.SplitSeq(path[1:], []byte("/")) {
			if string(segment) == "." || string(segment) == ".." {
				t.Errorf("%q: dot segment in %q", raw, path)
			}
		}
		if o.MergeSlashes && bytes.Contains(path, []byte("//")) {
			t.Errorf("%q: two slashes in %q", raw, path)
		}
		upper := bytes.ToUpper(path)
		if bytes.Contains(upper, []byte("%2E")) || bytes.Contains(upper, []byte("%00")) ||
			o.RejectEscapedSlashes && (bytes.Contains(upper, []byte("%2F")) || bytes.Contains(upper, []byte("%5C"))) {
			t.Errorf("%q: escape left in %q", raw, path)
		}
	})
}
