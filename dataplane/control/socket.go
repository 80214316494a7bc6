package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// askUpgrade is the one thing that can be asked for.
	askUpgrade = "upgrade"
	socketName = "control.sock"
	// maxSocketPath is what a unix address holds, but for its last zero.
	maxSocketPath = 107
	// maxLine bounds a request and an answer, each a line of JSON.
	maxLine = 64 << 10
	// clientTimeout is how long a client may take to ask, and to take a line.
	clientTimeout = 5 * time.Second
	// maxClients is more than people ask at the same time.
	maxClients = 8
	// acceptPause is how long a client waits that could not be accepted.
	acceptPause = 100 * time.Millisecond
	// lookEvery is how often Run looks whether the socket is there still: the directory is
	// a cache, and may be deleted under the node.
	lookEvery = 5 * time.Second
)

// Config says where the socket is, and what is done for those who ask.
type Config struct {
	Dir string // the node's own
	// Upgrade replaces this process; say tells the client how it goes.
	Upgrade func(ctx context.Context, r Request, say func(format string, args ...any)) (pid int, err error)
	// DrainTimeout is how long connections of a process that was replaced may last.
	DrainTimeout time.Duration
	Logger       *slog.Logger
}

// Socket is what a node listens on for users of its machine.
type Socket struct {
	c               Config
	path, temporary string
	lookEvery       time.Duration
	logger          *slog.Logger
	clients         chan struct{}

	// guarded by mu
	mu       sync.Mutex
	listener net.Listener // nil: there is none
	claimed  bool         // this process is the one that is asked
	own      os.FileInfo  // what was put at path; nil: nothing
	failing  bool         // to put it there again, which was told
}

// pathIn is where the socket of a node is that has a directory.
func pathIn(dir string) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, socketName))
	if err != nil {
		return "", err
	}
	if len(path)+len(".4194304") > maxSocketPath {
		return "", fmt.Errorf("control socket %s: the path is too long for a unix socket: use a --state-dir that is shorter by %d bytes", path, len(path)+len(".4194304")-maxSocketPath)
	}
	return path, nil
}

// Open opens the socket under a name that nobody knows until Claim. A node
// works without it, so what is in the way is told and no more.
func Open(c Config) *Socket {
	s := &Socket{c: c, lookEvery: lookEvery, logger: c.Logger, clients: make(chan struct{}, maxClients)}
	var err error
	if s.path, err = pathIn(c.Dir); err == nil {
		s.temporary = fmt.Sprintf("%s.%d", s.path, os.Getpid())
		err = s.open()
	}
	if err != nil {
		s.logger.Warn("no control socket: this node cannot be upgraded without a restart", "error", err)
	}
	return s
}

// open listens under the temporary name. mu is held, or nobody else has s.
func (s *Socket) open() error {
	if err := os.Remove(s.temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", s.temporary)
	if err != nil {
		return err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // its name will be another one, and perhaps another's
	}
	if err := os.Chmod(s.temporary, 0o600); err != nil {
		l.Close()
		return err
	}
	s.listener = l
	return nil
}

// Claim makes this process the one that is asked from now on.
func (s *Socket) Claim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return
	}
	s.claimed = true
	if err := s.claim(); err != nil {
		s.logger.Warn("no control socket: this node cannot be upgraded", "error", err, "retry_in", s.lookEvery)
	}
}

// claim gives the socket its name. mu is held.
func (s *Socket) claim() error {
	info, err := os.Stat(s.temporary)
	if err == nil {
		err = os.Rename(s.temporary, s.path)
	}
	if err == nil {
		s.own = info
	}
	return err
}

// restore makes the socket anew that is gone, as with its directory. One that is there is
// this process's, or that of the process after it.
func (s *Socket) restore(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.claimed || ctx.Err() != nil {
		return
	}
	if _, err := os.Lstat(s.path); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	before := s.listener
	err := os.MkdirAll(filepath.Dir(s.path), 0o700)
	if err == nil {
		err = s.open()
	}
	if err == nil {
		before.Close()
		err = s.claim()
	}
	switch {
	case err == nil:
		s.logger.Info("control socket: it was deleted, and is there again", "path", s.path)
	case !s.failing:
		s.logger.Warn("control socket: it was deleted, and cannot be made again: this node cannot be upgraded", "path", s.path, "error", err, "retry_in", s.lookEvery)
	}
	s.failing = err != nil
}

// listening is the socket that takes clients at the time; nil: there is none.
func (s *Socket) listening() net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener
}

// Run answers until ctx ends, and removes the socket unless another process has
// put its own there.
func (s *Socket) Run(ctx context.Context) error {
	if s.listening() == nil {
		<-ctx.Done()
		return nil
	}
	var wait sync.WaitGroup
	defer s.Remove()
	defer wait.Wait()
	stop := context.AfterFunc(ctx, func() { s.listening().Close() })
	defer stop()
	for {
		l := s.listening()
		if d, ok := l.(interface{ SetDeadline(t time.Time) error }); ok {
			_ = d.SetDeadline(time.Now().Add(s.lookEvery)) // of one that is closed Accept tells
		}
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.restore(ctx)
			continue
		}
		if err != nil {
			// Want of descriptors: a node that serves does not end since one of its users
			// cannot ask.
			s.logger.Warn("control socket: a client waits", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		select {
		case s.clients <- struct{}{}:
			wait.Go(func() {
				s.serve(ctx, conn)
				<-s.clients
			})
		default:
			conn.Close()
		}
	}
}

// Remove removes the socket, unless another process has put its own there. Run does so
// when it ends.
func (s *Socket) Remove() {
	_ = os.Remove(s.temporary) // there only if it was never claimed
	s.mu.Lock()
	defer s.mu.Unlock()
	if info, err := os.Stat(s.path); err == nil && s.own != nil && os.SameFile(info, s.own) {
		_ = os.Remove(s.path)
	}
	s.own, s.claimed = nil, false
}

// serve answers one client. One that leaves early changes nothing.
func (s *Socket) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	answer := func(a Answer) {
		_ = conn.SetWriteDeadline(time.Now().Add(clientTimeout))
		_ = json.NewEncoder(conn).Encode(a)
	}
	_ = conn.SetReadDeadline(time.Now().Add(clientTimeout))
	var r Request
	line, err := bufio.NewReader(io.LimitReader(conn, maxLine)).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	switch {
	case err != nil:
		answer(Answer{Error: "bad request: " + err.Error()})
		return
	case r.Ask != askUpgrade:
		answer(Answer{Error: fmt.Sprintf("this node does not know how to %q", r.Ask)})
		return
	case r.TimeoutMillis <= 0:
		answer(Answer{Error: "bad request: no timeout"})
		return
	}
	s.logger.Info("upgrade: begins", "binary", r.Binary, "timeout", r.Timeout())
	pid, err := s.c.Upgrade(ctx, r, func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		s.logger.Info("upgrade: " + text)
		answer(Answer{Progress: text})
	})
	if err != nil {
		s.logger.Error("upgrade: failed, this process goes on", "error", err)
		answer(Answer{Error: err.Error()})
		return
	}
	answer(Answer{Done: true, PID: pid, OldPID: os.Getpid(), DrainMS: s.c.DrainTimeout.Milliseconds()})
}
