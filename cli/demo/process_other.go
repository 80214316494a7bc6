//go:build !linux

package demo

import "syscall"

// childAttributes has nothing to say: the demo's nodes run on Linux only.
func childAttributes() *syscall.SysProcAttr { return nil }
