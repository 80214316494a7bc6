package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/proxyfleet/proxyfleet/proto/durable"
)

const (
	// A single member elects itself after one election timeout, and nothing
	// travels by network: short times only make it ready sooner.
	tickMillis     = 10
	electionMillis = 100

	// etcd allocates a segment of its log ahead; the stock 64 MB make the first
	// start slow and an empty control plane big.
	walSegmentBytes = 1 << 20

	// DefaultQuotaBytes is between etcd's stock (2 GiB) and the most that it recommends
	// (8 GiB). 100,000 resources with a history of 10,000 changes stay under 1 GiB.
	DefaultQuotaBytes = 4 << 30

	// Old values of keys are of no use to the store: its history is made of keys.
	compactionRetention = "10m"

	// The file does not shrink by itself; it is rewritten at a start at which so
	// many MiB are free.
	defragThresholdMiB = 256

	memberName = "embedded"
	// peerURL is the member's name in its own cluster. Nothing listens there.
	peerURL = "http://127.0.0.1:2380"

	lockFile       = "lock"
	firstStartFile = "first-start"
)

// ErrLocked is the kind of error of Start if another process, or another Etcd of
// this one, has the directory open.
var ErrLocked = errors.New("in use by another process")

// Options say where and how. DataDir is required.
type Options struct {
	// DataDir is the control plane's directory; etcd's files are in etcd below
	// it. Made if missing, for the owner alone.
	DataDir string
	// Logger takes what etcd has to say: its information as debug records,
	// warnings and errors as such. Nil: nothing is logged.
	Logger *slog.Logger
	// QuotaBytes bounds the database's file: etcd writes nothing more once that is as
	// large, until Reclaim. 0: DefaultQuotaBytes.
	QuotaBytes int64
}

// Etcd is a running etcd.
type Etcd struct {
	// immutable
	etcd   *embed.Etcd
	client *clientv3.Client
	lock   *fileutil.LockedFile
	quota  int64

	closing sync.Once
	err     error // of closing
}

// Start opens or makes the data and returns when etcd answers. It gives up when
// ctx ends. Errors: ErrLocked; everything else is in the text.
func Start(ctx context.Context, o Options) (*Etcd, error) {
	if o.DataDir == "" {
		return nil, errors.New("embedded etcd: no data directory given")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	dir := filepath.Join(o.DataDir, "etcd")
	if err := os.MkdirAll(dir, fileutil.PrivateDirMode); err != nil {
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	if o.QuotaBytes == 0 {
		o.QuotaBytes = DefaultQuotaBytes
	}
	lock, err := acquire(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: data directory %s: %w", o.DataDir, err)
	}
	e, err := open(ctx, dir, lock, o)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	return e, nil
}

// open owns the lock from here on.
func open(ctx context.Context, dir string, lock *fileutil.LockedFile, o Options) (*Etcd, error) {
	first, err := prepare(dir, o.Logger)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	shrinkSegments()
	server, err := launch(config(dir, o))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("data in %s: %w", dir, err), lock.Close())
	}
	e := &Etcd{etcd: server, lock: lock, client: v3client.New(server.Server), quota: o.QuotaBytes}
	e.client.KV = patience{e.client.KV}
	select {
	case <-server.Server.ReadyNotify():
		if !first {
			return e, nil
		}
		if err = endFirstStart(dir); err == nil {
			return e, nil
		}
	case <-server.Server.StopNotify():
		err = errors.New("it stopped while starting")
	case <-ctx.Done():
		err = fmt.Errorf("not ready: %w", context.Cause(ctx))
	}
	return nil, errors.Join(err, e.Close())
}

// Client is closed by Close.
func (e *Etcd) Client() *clientv3.Client { return e.client }

// Done is closed when etcd stopped, by Close or by itself.
func (e *Etcd) Done() <-chan struct{} { return e.etcd.Server.StopNotify() }

// Close stops etcd and gives the directory free. Calls after the first wait for
// it and return the same.
func (e *Etcd) Close() error {
	e.closing.Do(func() {
		err := e.client.Close()
		if errors.Is(err, context.Canceled) { // the client's own, on its way out
			err = nil
		}
		e.etcd.Close() // panics if called twice
		e.err = errors.Join(err, e.lock.Close())
		if e.err != nil {
			e.err = fmt.Errorf("embedded etcd: close: %w", e.err)
		}
	})
	return e.err
}

// acquire takes the lock or says who could have it. etcd itself would wait for
// ever.
func acquire(path string) (*fileutil.LockedFile, error) {
	lock, err := fileutil.TryLockFile(path, os.O_WRONLY|os.O_CREATE, fileutil.PrivateFileMode)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, ErrLocked
	}
	return lock, err
}

// prepare makes a directory whose first start was interrupted empty again, and
// tells whether this is a first start. An etcd that was stopped before its first
// entry was committed does not know its own membership and never gets ready;
// nobody was given a client of it, so nothing is lost. The mark stands from
// before the first file until the first readiness: data without it is never
// touched.
func prepare(dir string, logger *slog.Logger) (first bool, err error) {
	mark, member := filepath.Join(dir, firstStartFile), filepath.Join(dir, "member")
	switch _, err := os.Stat(mark); {
	case err == nil:
		logger.Warn("embedded etcd: its first start was interrupted, starting anew", "dir", dir)
		return true, os.RemoveAll(member)
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	if _, err := os.Stat(member); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.WriteFile(mark, nil, fileutil.PrivateFileMode); err != nil {
		return false, err
	}
	return true, durable.SyncDir(dir)
}

// endFirstStart takes the mark of an unfinished first start away.
func endFirstStart(dir string) error {
	return durable.Remove(filepath.Join(dir, firstStartFile))
}

// segments guards etcd's own package variable: it is written once, before the
// first etcd of this process reads it.
var segments sync.Once

func shrinkSegments() {
	segments.Do(func() { wal.SegmentSizeBytes = walSegmentBytes })
}

func config(dir string, o Options) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = memberName
	cfg.Dir = dir
	cfg.TickMs, cfg.ElectionMs = tickMillis, electionMillis

	cfg.ListenPeerUrls, cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, nil, nil
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}}
	cfg.InitialCluster = memberName + "=" + peerURL
	cfg.InitialClusterToken = rand.Text() // counts on the first start only

	cfg.QuotaBackendBytes = o.QuotaBytes
	cfg.AutoCompactionMode = embed.CompactorModePeriodic
	cfg.AutoCompactionRetention = compactionRetention
	cfg.BootstrapDefragThresholdMegabytes = defragThresholdMiB
	// MaxTxnOps and MaxRequestBytes stay as they are: what works here works on
	// an external etcd with stock limits.

	// etcd warns of an apply of more than 100 ms; a busy disk is not a problem of
	// correctness for one member.
	cfg.WarningApplyDuration = time.Second
	cfg.WarningUnaryRequestDuration = time.Second

	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZapLogger(o.Logger))
	return cfg
}

// launch turns etcd's fatal errors of the start, of a damaged log for example,
// into an error.
func launch(cfg *embed.Config) (e *embed.Etcd, err error) {
	defer func() {
		if r := recover(); r != nil {
			e, err = nil, fmt.Errorf("it gave up: %v", r)
		}
	}()
	return embed.StartEtcd(cfg)
}
