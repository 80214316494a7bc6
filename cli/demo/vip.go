package demo

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/durable"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// vipAddress is the virtual IP of first.yaml.
	vipAddress = "127.0.0.100"
	// keyFile seals the nodes' gossip.
	keyFile = "gossip.key"
	keySize = 32
)

// writeKey makes the key of the nodes' gossip; one of an earlier demo stays.
func writeKey(path string) error {
	var key [keySize]byte
	_, _ = rand.Read(key[:]) // never fails: it ends the program instead
	err := durable.Create(path, []byte(base64.StdEncoding.EncodeToString(key[:])+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("demo: gossip key: %w", err)
	}
	return nil
}

// waitForVIPs waits until each virtual IP has a holder. What is missing is
// returned with an error.
func (d *demo) waitForVIPs(ctx context.Context) (missing string, err error) {
	for {
		list, err := d.client.VIPs(ctx)
		if err != nil && !errors.Is(err, client.ErrNoServer) {
			return "the virtual IPs", err
		}
		missing = ""
		for _, v := range list.Items {
			if v.Holder == "" {
				missing = "a holder of VirtualIP/" + v.Name
			}
		}
		if err == nil && missing == "" {
			return "", nil
		}
		if !wakeup.After(ctx, lookPause) {
			return missing, ctx.Err()
		}
	}
}

// holder is the node that holds the demo's virtual IP, and its process; 0: nobody
// does.
func (d *demo) holder(ctx context.Context) (id string, pid int) {
	list, err := d.client.VIPs(ctx)
	if err != nil || len(list.Items) == 0 {
		return "", 0
	}
	for i, p := range d.plan.Processes {
		if p.Name == list.Items[0].Holder && i < len(d.children) {
			return p.Name, d.children[i].pid()
		}
	}
	return "", 0
}
