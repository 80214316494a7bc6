// Package embeddedtest gives all tests of a package one etcd. Starting one takes
// longer than most of them do.
package embeddedtest

import (
	"context"
	"errors"
	"log"
	"os"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/controlplane/embedded"
)

// Main runs the tests of m and returns the status to exit with. use gets the client
// of the etcd before they begin; each test is to have a prefix of its own. When they
// are over the etcd is closed, and no goroutine may be left.
func Main(m *testing.M, use func(*clientv3.Client)) (status int) {
	status, err := run(m, use)
	if err != nil {
		log.Print(err)
		return 1
	}
	return status
}

func run(m *testing.M, use func(*clientv3.Client)) (status int, err error) {
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	etcd, err := embedded.Start(context.Background(), embedded.Options{DataDir: dir})
	if err != nil {
		return 0, err
	}
	use(etcd.Client())
	status = m.Run()
	if err := etcd.Close(); err != nil {
		return status, err
	}
	return status, goleak.Find()
}
