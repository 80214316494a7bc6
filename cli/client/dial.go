package client

import (
	"errors"
	"net"
)

// neverSent reports whether the error shows that the request did not leave:
// the connection was not made.
func neverSent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op == "dial"
	}
	var dns *net.DNSError
	return errors.As(err, &dns)
}
