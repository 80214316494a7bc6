//go:build !linux

package demo

import (
	"os"
	"syscall"
)

// childAttributes has nothing to say: the demo's nodes run on Linux only.
func childAttributes() *syscall.SysProcAttr { return nil }

func adoptOrphans() (undo func(), err error) { return func() {}, nil }

func nextOrphan(int, []string) (orphan *os.Process, follows bool) { return nil, false }
