package compile

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// tunnel converts what a route with defaults says of upgrades.
func tunnel(spec *fleetv1.Route) *table.Tunnel {
	t := &table.Tunnel{Idle: time.Duration(spec.GetTimeouts().GetTunnelIdle())}
	for _, protocol := range spec.GetUpgrades() {
		if protocol != "NONE" {
			t.Upgrades = append(t.Upgrades, protocol)
		}
	}
	return t
}

// tunnel converts what the route says of tunnels, if that is not the default.
func (m *routeMaker) tunnel() {
	m.out.Tunnel = m.defaults.tunnel
	idle, upgrades, connect := m.spec.GetTimeouts().GetTunnelIdle(), m.spec.GetUpgrades(), m.spec.GetConnect()
	if m.spec.GetTimeouts().GetTunnelIdle() == 0 && len(upgrades) == 0 && connect == nil {
		return
	}
	t := tunnel(m.spec)
	if len(upgrades) == 0 {
		t.Upgrades = m.defaults.tunnel.Upgrades
	}
	if idle == 0 {
		t.Idle = m.defaults.tunnel.Idle
	}
	for i, s := range connect.GetTargets() {
		target, ok := connectTarget(s)
		if !ok {
			m.problem(fmt.Sprintf("spec.connect.targets[%d]", i), quote(s), "a host name, or *. and a host name, with a port")
			continue
		}
		t.Connect = append(t.Connect, target)
	}
	m.out.Tunnel = t
}

func connectTarget(s string) (t table.ConnectTarget, ok bool) {
	at := strings.LastIndexByte(s, ':')
	if at < 0 {
		return t, false
	}
	port, err := strconv.ParseUint(s[at+1:], 10, 16)
	if err != nil {
		return t, false
	}
	t.Port = uint16(port)
	name, wild := strings.CutPrefix(s[:at], "*.")
	t.Wild = wild
	normal, _, ok := message.NormalHost([]byte(name), nil)
	t.Host = string(normal)
	return t, ok
}
