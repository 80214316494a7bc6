package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/seal"
	"github.com/proxyfleet/proxyfleet/proto/settings"
)

const sealKeyName = "seal.key"

// sealKeyPath is where the seal key is.
func (o *options) sealKeyPath() string {
	if o.sealKeyFile != "" {
		return o.sealKeyFile
	}
	return filepath.Join(o.dataDir, sealKeyName)
}

// readSealKey reads the key that secrets are sealed under; nil: it is still to be
// made. Replicas on an etcd of others must share one, so there it must exist.
func readSealKey(o options) (*seal.Key, error) {
	path := o.sealKeyPath()
	k, err := seal.ReadFile(path)
	switch {
	case err == nil:
		return k, nil
	case !errors.Is(err, fs.ErrNotExist):
		if o.sealKeyFile == "" {
			return nil, settings.Usage("--data-dir: %v", err) // which is what was said
		}
		return nil, settings.Usage("--seal-key-file: %v", err)
	case len(o.etcdEndpoints) > 0:
		return nil, settings.Usage("--seal-key-file: %s: no such file: with --etcd-endpoints it must exist, and be the same for all replicas; "+
			"make it once (umask 077; openssl rand -hex 32 > %s) and copy it", path, path)
	}
	return nil, nil
}

// makeSealKey makes the key of a store that was never sealed. One that was needs
// the key that it was sealed under: another would be no use.
func makeSealKey(ctx context.Context, client *clientv3.Client, o options, w waits, logger *slog.Logger) (*seal.Key, error) {
	var id string
	err := answered(ctx, o, w, logger, func(ctx context.Context) (err error) {
		id, err = store.SealedUnder(ctx, client, "")
		return err
	})
	if err != nil {
		return nil, err
	}
	if id != "" {
		return nil, fmt.Errorf("--seal-key-file: %s: no such file, and what is kept in %s is sealed under key %s: put that file back", o.sealKeyPath(), o.dataDir, id)
	}
	return seal.CreateFile(o.sealKeyPath())
}
