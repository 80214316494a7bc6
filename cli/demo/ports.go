package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// portInUse is one port that a demo needs and cannot have.
type portInUse struct {
	port   Port
	holder string // "nginx (process 1234)", or empty if nobody can tell
	err    error
}

// portsError names every port that is in the way.
type portsError []portInUse

func (e portsError) Error() string {
	var b strings.Builder
	b.WriteString("the demo cannot have these ports; is another one running?")
	for _, p := range e {
		fmt.Fprintf(&b, "\n  %s, for %s: ", p.port.Address, p.port.Use)
		switch {
		case !errors.Is(p.err, syscall.EADDRINUSE):
			b.WriteString(p.err.Error())
		case p.holder != "":
			b.WriteString("in use by " + p.holder)
		default:
			b.WriteString("in use by another process")
		}
	}
	return b.String()
}

// checkPorts tries every port and lets it go again. What is in the way is
// said all at once. holder names the process that listens on an address.
func checkPorts(ctx context.Context, ports []Port, holder func(address string) string) error {
	var config net.ListenConfig
	var inUse portsError
	for _, p := range ports {
		l, err := config.Listen(ctx, "tcp", p.Address)
		if err == nil {
			l.Close()
			continue
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			inUse = append(inUse, portInUse{p, holder(p.Address), err})
			continue
		}
		inUse = append(inUse, portInUse{p, "", err})
	}
	if len(inUse) > 0 {
		return inUse
	}
	return nil
}
