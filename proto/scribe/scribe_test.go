package scribe

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// reader is where lines are written to. It takes nothing until it is let go.
type reader struct {
	free chan struct{}

	mu   sync.Mutex
	full bool
	text strings.Builder
}

func (r *reader) Write(b []byte) (int, error) {
	<-r.free
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return 0, errors.New("no space left on device")
	}
	return r.text.Write(b)
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *reader) setFull(full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = full
}

func TestLinesAreWrittenInTheirOrder(t *testing.T) {
	r := &reader{free: make(chan struct{})}
	close(r.free)
	w := Start(r)
	want := ""
	for i := range 1000 {
		want += fmt.Sprintln("line", i)
		fmt.Fprintln(w, "line", i)
	}
	w.Close()
	if got := r.String(); got != want || w.Lost() != 0 {
		t.Errorf("%d lost, and written was\n%s", w.Lost(), got)
	}
}

func TestWhoeverWritesDoesNotWaitForWhoeverReads(t *testing.T) {
	const room, more = 8, 10
	r := &reader{free: make(chan struct{})}
	w := Start(r)
	line := []byte(strings.Repeat("x", maxWaiting/room-1) + "\n")
	for range room + more {
		_, _ = w.Write(line)
	}
	w.Close() // which does not wait for ever
	if w.Lost() != more {
		t.Errorf("%d are lost, want %d", w.Lost(), more)
	}
	_, _ = w.Write([]byte("behind the end\n"))
	close(r.free)
	<-w.done
	text := r.String()
	if n := strings.Count(text, string(line)); n != room {
		t.Errorf("%d are written, want %d", n, room)
	}
	if !strings.Contains(text, fmt.Sprintf("level=WARN msg=\"messages were left out, since they could not be written\" lines=%d\n", more+1)) {
		t.Error("nothing is told of those that are lost")
	}
}

func TestThereIsRoomAgainForWhatWasWritten(t *testing.T) {
	r := &reader{free: make(chan struct{})}
	w := Start(r)
	longer := func(letter string) string { return strings.Repeat(letter, 2*maxWaiting) + "\n" }
	_, _ = w.Write([]byte(longer("x"))) // than all the room
	_, _ = w.Write([]byte("no room\n"))
	close(r.free)
	waittest.Until(t, "the first to be written", func() bool { return strings.HasPrefix(r.String(), longer("x")) })
	waittest.Until(t, "room", func() bool {
		_, _ = w.Write([]byte("again\n"))
		return strings.Contains(r.String(), "again\n")
	})
	w.Close()
	if strings.Contains(r.String(), "no room") {
		t.Error("there is room for two, where one takes all of it")
	}
}

func TestWhatADiskRefusesIsCountedAndToldLater(t *testing.T) {
	r := &reader{free: make(chan struct{})}
	close(r.free)
	r.setFull(true)
	w := Start(r)
	const refused = 3
	for i := range refused {
		fmt.Fprintln(w, "refused", i)
	}
	waittest.Until(t, "what is refused counts", func() bool { return w.Lost() == refused })
	r.setFull(false)
	fmt.Fprintln(w, "taken")
	w.Close()
	text := r.String()
	if !strings.HasPrefix(text, "taken\n") || !strings.Contains(text, fmt.Sprintf(" lines=%d\n", refused)) {
		t.Errorf("written was %q", text)
	}
}
