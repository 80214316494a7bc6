//go:build !linux

package evloop

import (
	"context"
	"net/netip"
)

// Suspend is never called.
func (*Engine) Suspend(context.Context) error { return nil }

// Resume is never called.
func (*Engine) Resume() {}

// Drained is never called.
func (*Engine) Drained() bool { return false }

// EachSocket is never called.
func (*Engine) EachSocket(func(netip.AddrPort, []int) error) error { return nil }

// CloseUnclaimed is never called.
func (*Engine) CloseUnclaimed() []netip.AddrPort { return nil }

// Release is never called.
func (*Engine) Release(context.Context, []netip.AddrPort) error { return nil }
