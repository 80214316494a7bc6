package loadgen

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// RunServer answers as RunBackend does, with bodies of any length, and only after
// the request's body has come whole. It costs more for each request, and next to
// nothing for each byte: bodies go from a file in memory by sendfile(2).
func RunServer(o BackendOptions) error {
	l, err := net.Listen("tcp", o.Listen.String())
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	fd, err := unix.MemfdCreate("bodies", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	file := os.NewFile(uintptr(fd), "bodies")
	defer file.Close()
	if err := fill(file, o.Size); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	var requests, open atomic.Int64
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
			requests.Add(1)
			answer(w, file, o.Size)
		}),
		ReadHeaderTimeout: holdTimeout, IdleTimeout: time.Hour,
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
			}
		},
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	err = serverCommands(o, func() (int64, int64) { return requests.Load(), open.Load() })
	server.Close()
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func fill(file *os.File, size int) error {
	block := make([]byte, min(size, 1<<20))
	for i := range block {
		block[i] = 'x'
	}
	for size > 0 {
		n, err := file.Write(block[:min(size, len(block))])
		if err != nil {
			return err
		}
		size -= n
	}
	return nil
}

// answer opens the file anew, so that each answer has its own place in it.
func answer(w http.ResponseWriter, file *os.File, size int) {
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(file.Fd())))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	_, _ = io.CopyN(w, f, int64(size)) // what fails shows at the client
}

// serverCommands answers what the control says until it ends.
func serverCommands(o BackendOptions, count func() (requests, open int64)) error {
	lines := bufio.NewScanner(o.Control)
	for lines.Scan() {
		if lines.Text() != "count" {
			return fmt.Errorf("server: command %.40q", lines.Text())
		}
		requests, open := count()
		if _, err := fmt.Fprintln(o.Out, requests, open); err != nil {
			return err
		}
	}
	return lines.Err()
}
