package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	listener        net.Listener // nil: there is none
	logger          *slog.Logger
	clients         chan struct{}

	mu  sync.Mutex
	own os.FileInfo // guarded by mu; what Claim put at path; nil: nothing
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
	s := &Socket{c: c, logger: c.Logger, clients: make(chan struct{}, maxClients)}
	if err := s.open(); err != nil {
		s.logger.Warn("no control socket: this node cannot be upgraded without a restart", "error", err)
	}
	return s
}

func (s *Socket) open() error {
	path, err := pathIn(s.c.Dir)
	if err != nil {
		return err
	}
	s.path, s.temporary = path, fmt.Sprintf("%s.%d", path, os.Getpid())
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
	if s.listener == nil {
		return
	}
	info, err := os.Stat(s.temporary)
	if err == nil {
		err = os.Rename(s.temporary, s.path)
	}
	if err != nil {
		s.logger.Warn("no control socket: this node cannot be upgraded without a restart", "error", err)
		return
	}
	s.mu.Lock()
	s.own = info
	s.mu.Unlock()
}

// Run answers until ctx ends, and removes the socket unless another process has
// put its own there.
func (s *Socket) Run(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	var wait sync.WaitGroup
	defer s.Remove()
	defer wait.Wait()
	stop := context.AfterFunc(ctx, func() { s.listener.Close() })
	defer stop()
	for {
		conn, err := s.listener.Accept()
		if ctx.Err() != nil {
			return nil
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
	s.own = nil
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
