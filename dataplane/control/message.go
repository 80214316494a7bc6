package control

import "time"

// Request is what a client says.
type Request struct {
	Ask string `json:"ask"` // "upgrade"
	// Binary is the new program's path; empty: the path of the running one.
	Binary        string `json:"binary,omitempty"`
	TimeoutMillis int64  `json:"timeoutMillis"`
}

// Timeout is how long the new process may take to be ready.
func (r Request) Timeout() time.Duration {
	return time.Duration(r.TimeoutMillis) * time.Millisecond
}

// Answer is one line of the answer: Progress any number of times, then
// Error or Done.
type Answer struct {
	Progress string `json:"progress,omitempty"`
	Error    string `json:"error,omitempty"`
	Done     bool   `json:"done,omitempty"`
	PID      int    `json:"pid,omitempty"`     // of the new process
	OldPID   int    `json:"oldPid,omitempty"`  // of the one that ends its connections
	DrainMS  int64  `json:"drainMs,omitempty"` // how long that may take
}
