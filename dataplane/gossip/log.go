package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"
)

// maxLines bounds how much memberlist may log in a logWindow: anybody can send it
// packets to complain about, and a node with another key does so 20 times a second
// for as long as it runs. What is wrong stands in the first lines.
const (
	maxLines  = 20
	logWindow = time.Minute
)

// logWriter turns memberlist's lines, "… [WARN] memberlist: text", into records.
type logWriter struct {
	log *slog.Logger
	// farewell is what is said of what this node's process before has left to the others.
	farewell string

	mu      sync.Mutex
	begin   time.Time // of the window that is counted
	lines   int
	dropped int
}

func newLogWriter(l *slog.Logger, nodeID string) *logWriter {
	return &logWriter{log: l, farewell: "Refuting a dead message (from: " + nodeID + ")"}
}

// Write implements io.Writer.
func (w *logWriter) Write(line []byte) (int, error) {
	level, text := parseLine(line)
	if text == w.farewell { // each restart has it
		level = slog.LevelInfo
	}
	if !w.log.Enabled(context.Background(), level) {
		return len(line), nil
	}
	dropped, ok := w.admit(time.Now())
	if dropped > 0 {
		w.log.Warn("gossip: lines were left out", "lines", dropped)
	}
	if ok {
		w.log.Log(context.Background(), level, "gossip: "+text)
	}
	return len(line), nil
}

// admit says whether a line may be written now, and how many were left out
// before it.
func (w *logWriter) admit(now time.Time) (dropped int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.begin) >= logWindow {
		dropped = w.dropped
		w.begin, w.lines, w.dropped = now, 0, 0
	}
	if w.lines == maxLines {
		w.dropped++
		return 0, false
	}
	w.lines++
	return dropped, true
}

func parseLine(line []byte) (slog.Level, string) {
	level := slog.LevelInfo
	if _, rest, ok := bytes.Cut(line, []byte{'['}); ok {
		if name, rest, ok := bytes.Cut(rest, []byte("] ")); ok {
			switch string(name) {
			case "DEBUG":
				level, line = slog.LevelDebug, rest
			case "INFO":
				line = rest
			case "WARN":
				level, line = slog.LevelWarn, rest
			case "ERR", "ERROR":
				level, line = slog.LevelError, rest
			}
		}
	}
	line = bytes.TrimPrefix(bytes.TrimSpace(line), []byte("memberlist: "))
	return level, string(line)
}
