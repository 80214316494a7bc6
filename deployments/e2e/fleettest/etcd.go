package fleettest

import (
	"path/filepath"
	"testing"
)

// Etcd is a stock etcd of its own process.
type Etcd struct {
	*Process
	Endpoint string
	args     []string
	t        testing.TB
	dir      string
}

// NewEtcd starts an etcd with default limits and waits until it answers.
func NewEtcd(t testing.TB) *Etcd {
	t.Helper()
	network, dir := freeNet(t), shortTempDir(t)
	clientURL, peerURL := "http://"+network+".1:2379", "http://"+network+".1:2380"
	e := &Etcd{t: t, dir: dir, Endpoint: clientURL, args: []string{
		"--name", "e", "--data-dir", filepath.Join(dir, "data"), "--log-level", "warn",
		"--listen-client-urls", clientURL, "--advertise-client-urls", clientURL,
		"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "e=" + peerURL,
	}}
	e.Start()
	return e
}

// Start starts it, again if it ran before.
func (e *Etcd) Start() {
	e.t.Helper()
	e.Process = start(e.t, e.dir, "etcd", Binary(e.t, "tools/etcd"), e.args...)
	Wait(e.t, readyTimeout, "etcd to answer", func() bool { return Answers(e.Endpoint + "/health") })
}
