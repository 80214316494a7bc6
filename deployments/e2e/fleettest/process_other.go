//go:build !linux

package fleettest

import "syscall"

func deathWithParent() *syscall.SysProcAttr { return nil }
