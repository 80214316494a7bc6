//go:build !linux

package agent

import (
	"context"
	"errors"
	"io"
)

var errSystem = errors.New("vip-agent: nodes run on linux")

// Run says that there is no agent for this system.
func Run(context.Context, io.Writer) error { return errSystem }

func (s *Supervisor) once(context.Context) error { return errSystem }
