package demo

import "syscall"

// childAttributes puts a child into a process group of its own, so that Ctrl-C
// in the terminal reaches the demo alone, which then ends its children in
// order; and has the kernel kill it when the demo dies without doing so.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
