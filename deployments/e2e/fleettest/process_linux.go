package fleettest

import "syscall"

// deathWithParent ends the process when the test's ends, also by a kill.
func deathWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
