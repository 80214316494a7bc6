package compile

import (
	"testing"
	"time"
)

func TestSocketsAreAsSaid(t *testing.T) {
	r := mustCompile(t, nil, treeOf(t, ground+`
---
{kind: Listener, name: l, spec: {port: 1, protocol: HTTP, receiveBuffer: 64KiB, sendBuffer: 1MiB}}
---
{kind: Upstream, name: u, spec: {endpoints: [{address: "unix:/run/app.sock"}, {address: "10.0.0.1:80", weight: 2}], tcpUserTimeout: 5s, pool: {maxLifetime: 1h}}}
`))
	if l := r.Table.Listener("l"); l.ReceiveBuffer != 64<<10 || l.SendBuffer != 1<<20 {
		t.Errorf("buffers of %d and %d", l.ReceiveBuffer, l.SendBuffer)
	}
	if l := r.Table.Listener("web"); l.ReceiveBuffer != 0 || l.SendBuffer != 0 {
		t.Errorf("by default buffers of %d and %d", l.ReceiveBuffer, l.SendBuffer)
	}
	u := r.Table.Upstream("u")
	if u.Socket.UserTimeout != 5*time.Second || u.Pool.MaxLifetime != time.Hour {
		t.Errorf("%+v %+v", u.Socket, u.Pool)
	}
	if e := u.Endpoints[0]; e.Unix != "/run/app.sock" || e.AddrPort.IsValid() || e.Address != "unix:/run/app.sock" {
		t.Errorf("%+v", e)
	}
	if e := u.Endpoints[1]; e.Unix != "" || !e.AddrPort.IsValid() || e.Weight != 2 {
		t.Errorf("%+v", e)
	}
	// A push that changes one of these makes another object.
	next := mustCompile(t, r, with(t, r.Tree, `{kind: Upstream, name: u, spec: {endpoints: [{address: "unix:/run/app.sock"}, {address: "10.0.0.1:80", weight: 2}], tcpUserTimeout: 6s, pool: {maxLifetime: 1h}}}`))
	if next.Table.Upstream("u").Socket.UserTimeout != 6*time.Second {
		t.Error("the change is lost")
	}
}
