//go:build !linux

package evloop

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// Engine does not exist on this system yet.
type Engine struct{}

// New says that there is no engine for this system.
func New(Config) (*Engine, error) {
	return nil, fmt.Errorf("engine: there is none for %s yet; nodes run on linux", runtime.GOOS)
}

// Live is never called.
func (*Engine) Live() *table.Live { return nil }

// SetTicketKeys is never called.
func (*Engine) SetTicketKeys([][32]byte) {}

// SetPressure is never called.
func (*Engine) SetPressure(pressure.Level) {}

// Pressure is that nothing is wanting: there is no engine.
func (*Engine) Pressure() pressure.Level { return pressure.Calm }

// BufferBytes is never called.
func (*Engine) BufferBytes() int64 { return 0 }

// SetDrained is never called.
func (*Engine) SetDrained(context.Context, bool) error { return nil }

// EndpointLoad is never called.
func (*Engine) EndpointLoad(uint32) (inFlight, connections, waiting int) { return 0, 0, 0 }

// Run is never called.
func (*Engine) Run(context.Context) error { return nil }

// Apply is never called.
func (*Engine) Apply(context.Context, *table.Table) error { return nil }

// Share is never called.
func (*Engine) Share(context.Context, map[netip.AddrPort]int) map[netip.AddrPort]error { return nil }

// Unshare is never called.
func (*Engine) Unshare(context.Context, ...netip.AddrPort) error { return nil }

// Pulse does not exist on this system.
type Pulse struct{}

// Pulse is never called.
func (*Engine) Pulse() *Pulse { return nil }

// Beat is never called.
func (*Pulse) Beat() bool { return false }

// SelfProbe does not exist on this system.
type SelfProbe struct{}

// SelfProbe is never called.
func (*Engine) SelfProbe() *SelfProbe { return nil }

// Run is never called.
func (*SelfProbe) Run(context.Context) error { return nil }

// Fault is never called.
func (*SelfProbe) Fault() string { return "" }
