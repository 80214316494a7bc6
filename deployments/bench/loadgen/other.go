//go:build !linux

package loadgen

import (
	"errors"
	"net"
	"runtime"
)

var errSystem = errors.New("load: measuring needs epoll, and there is none on " + runtime.GOOS)

// RunBackend works on Linux only.
func RunBackend(BackendOptions) error { return errSystem }

// Run works on Linux only.
func Run(Options) (*Result, error) { return nil, errSystem }

// RunServer works on Linux only.
func RunServer(BackendOptions) error { return errSystem }

func drop(*net.TCPConn, int) (int, error) { return 0, errSystem }
