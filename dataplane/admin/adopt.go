package admin

import (
	"fmt"
	"net"
)

// Adopt is Listen of a socket that another process opened. It closes one that it
// refuses.
func Adopt(l net.Listener, insecure bool) (net.Listener, error) {
	if !insecure && !isLoopback(l.Addr().String()) {
		l.Close()
		return nil, fmt.Errorf("admin address %s is not on loopback: anybody could read the configuration; --insecure allows it", l.Addr())
	}
	return l, nil
}
