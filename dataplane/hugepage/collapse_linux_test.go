package hugepage

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// hugeBytes is how much of this process's memory has huge pages.
func hugeBytes(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Skipf("the kernel does not tell: %v", err)
	}
	_, rest, _ := strings.Cut(string(text), "AnonHugePages:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

func TestALargeHeapGetsHugePagesAndKeepsItsBytes(t *testing.T) {
	const chunk, chunks = 64 << 10, 1024
	held := make([][]byte, chunks)
	for i := range held {
		held[i] = bytes.Repeat([]byte{byte(i)}, chunk)
	}
	pauses := 0
	n, err := collapse(func() bool { pauses++; return true })
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("the kernel makes no huge pages when it is asked to (Linux 6.1): ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n < chunk*chunks/2 {
		t.Skipf("the system had huge pages for %d bytes of %d only", n, chunk*chunks)
	}
	if huge := hugeBytes(t); huge < chunk*chunks/2 {
		t.Errorf("%d bytes have huge pages, expected most of %d", huge, chunk*chunks)
	}
	if pauses < int(n/size) {
		t.Errorf("%d pauses in %d huge pages", pauses, n/size)
	}
	for i, b := range held {
		if !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, chunk)) {
			t.Fatalf("chunk %d has changed", i)
		}
	}
}

func TestWhoIsToldToEndAsksForNoMore(t *testing.T) {
	held := bytes.Repeat([]byte{1}, 16*size)
	n, err := collapse(func() bool { return false })
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("the kernel makes no huge pages when it is asked to (Linux 6.1): ", err)
	}
	if err != nil || n > size {
		t.Errorf("%d bytes, %v", n, err)
	}
	runtime.KeepAlive(held)
}

func TestTheHeapIsFoundAmongMappings(t *testing.T) {
	const chunk = 1 << 20
	held := make([][]byte, 100)
	for i := range held {
		held[i] = make([]byte, chunk)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	from, to, err := heap(maps)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range held {
		if at := uintptr(unsafe.Pointer(&b[0])); at < from || at+chunk > to {
			t.Errorf("chunk %d at %x is outside of %x to %x", i, at, from, to)
		}
	}
	if _, _, err := heap(strings.NewReader("00400000-00500000 r-xp 0 0 0\nnonsense\n")); err == nil {
		t.Error("a heap was found where there is none")
	}
}
