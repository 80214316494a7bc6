package hugepage

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// size is that of a huge page on the processors that we build for, where pages
	// have 4 KiB.
	size     = 2 << 20
	pageSize = 4 << 10
	// resident is how many of a stretch's pages must be in memory: what is missing
	// becomes memory too, so the heap grows by a sixteenth at most.
	resident = size / pageSize * 15 / 16
)

// collapse backs the heap with huge pages, one after another, and returns how many
// bytes have them. It calls pause between two, each of which takes about half a
// millisecond, and ends where that says no. An error that is errors.ErrUnsupported is
// the system's: it is not to be asked again.
func collapse(pause func() bool) (int64, error) {
	if os.Getpagesize() != pageSize {
		return 0, fmt.Errorf("pages of %d bytes: %w", os.Getpagesize(), errors.ErrUnsupported)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return 0, err
	}
	defer maps.Close()
	from, to, err := heap(maps)
	if err != nil {
		return 0, err
	}
	pages, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return 0, err
	}
	defer pages.Close()
	var done int64
	refused := 0
	for at := (from + size - 1) &^ (size - 1); at+size <= to; at += size {
		n, err := present(pages, at)
		if err != nil {
			return done, err
		}
		if n < resident {
			continue
		}
		switch _, _, errno := unix.Syscall(unix.SYS_MADVISE, at, size, unix.MADV_COLLAPSE); errno {
		case 0:
			done += size
		case unix.EINVAL:
			refused++
		default: // no huge page is free, or the stretch is in use otherwise: the next may do
		}
		if !pause() {
			return done, nil
		}
	}
	// A stretch that changes meanwhile is refused like a call that the kernel does not
	// know; not so all of them.
	if done == 0 && refused > 0 {
		return 0, fmt.Errorf("MADV_COLLAPSE: %w", errors.ErrUnsupported)
	}
	return done, nil
}

// onHeap is an address that the runtime chose.
var onHeap = new([64]byte)

// heap finds the stretch of memory in which the Go heap lies.
func heap(maps io.Reader) (from, to uintptr, err error) {
	address := uintptr(unsafe.Pointer(onHeap))
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		bounds, _, _ := strings.Cut(lines.Text(), " ")
		low, high, _ := strings.Cut(bounds, "-")
		a, errLow := strconv.ParseUint(low, 16, 64)
		b, errHigh := strconv.ParseUint(high, 16, 64)
		if errLow != nil || errHigh != nil {
			continue
		}
		switch {
		case from == 0 && uintptr(a) <= address && address < uintptr(b):
			from, to = uintptr(a), uintptr(b)
		case from != 0 && uintptr(a) == to && strings.Contains(lines.Text(), " rw-p "):
			to = uintptr(b)
		}
	}
	if from == 0 {
		return 0, 0, errors.New("/proc/self/maps: the heap is not in it")
	}
	return from, to, nil
}

// present counts the pages of a stretch that are in memory: bit 63 of their entries
// in /proc/PID/pagemap.
func present(pages io.ReaderAt, at uintptr) (int, error) {
	var entries [size / pageSize * 8]byte
	if _, err := pages.ReadAt(entries[:], int64(at/pageSize*8)); err != nil {
		return 0, fmt.Errorf("/proc/self/pagemap: %w", err)
	}
	n := 0
	for i := 0; i < len(entries); i += 8 {
		if binary.NativeEndian.Uint64(entries[i:])>>63 != 0 {
			n++
		}
	}
	return n, nil
}
