//go:build !linux

package measure

import (
	"errors"
	"os/exec"
	"runtime"
)

var errSystem = errors.New("measuring needs Linux: processors are assigned, and /proc is read; this is " + runtime.GOOS)

type starter struct{}

func newStarter() *starter                    { return &starter{} }
func newNetworkStarter() (*starter, error)    { return nil, errSystem }
func (*starter) start(*exec.Cmd, int) error   { return errSystem }
func (*starter) close()                       {}
func stayOn(int) (func(), error)              { return nil, errSystem }
func allowDescriptors(uint64) (uint64, error) { return 0, errSystem }
func fileSystem(string) (string, uint64)      { return "an unknown file system", 0 }
func online() int                             { return runtime.NumCPU() }
