package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// helloTimeout bounds how long a stream may stay nameless.
	helloTimeout = 5 * time.Second
	// observeTimeout bounds the comparison of a Hello with the store, which must
	// not keep a node from its configuration when etcd does not answer.
	observeTimeout = 3 * time.Second
	// A peer that answers no ping for keepaliveTime+keepaliveTimeout is gone.
	keepaliveTime    = 5 * time.Second
	keepaliveTimeout = 5 * time.Second
	// minPing is the least time between pings of a peer; gRPC's clients ping
	// every 10 s at most.
	minPing = 5 * time.Second
	// maxStreams of a connection: a node has one, and one more while it takes over from
	// one that it does not know to be dead; twice that is never refused.
	maxStreams = 4
	// maxNodeMessage bounds what a node may say at once: a Status tells of up to 1,024
	// virtual IPs, with three names and two reasons each; a Nack holds up to 100 problems of
	// some 2 KiB.
	maxNodeMessage = 4 << 20
	// stopTimeout is what streams get to end after the server was told to stop.
	stopTimeout = 2 * time.Second
	// houseEvery is how often old encodings are looked for.
	houseEvery = time.Second
)

// Publisher decides what is wanted. *publish.Publisher is one.
type Publisher interface {
	// WantedFor is the version that is wanted of the node; zero: none yet.
	WantedFor(node string) publish.Published
	// Watch says "look at WantedFor again", coalesced, until ctx ends.
	Watch(ctx context.Context) <-chan struct{}
	// Base is the tree with this root, if it is one of the last versions.
	Base(ctx context.Context, root tree.Hash) (tree.Tree, bool)
	// Observe compares what a node says it runs with the store.
	Observe(ctx context.Context, node string, running tree.Version) error
}

// Config has what a Server works with. Publisher and Nodes are required.
type Config struct {
	Publisher Publisher
	// Nodes admits nodes, and is told what they say. It must run.
	Nodes *nodes.Registry
	// Insecure allows plaintext on addresses that are not loopback.
	Insecure bool
	Build    string
	// OnEvent is told what happens to nodes, in order for each node. It must not
	// block. nil: nobody.
	OnEvent func(Event)
	Logger  *slog.Logger     // nil: slog.Default()
	Now     func() time.Time // nil: time.Now
	// ObserveRetry is about how long after a comparison of what a node runs with the store
	// it is tried again, where the store did not answer; 0: a minute.
	ObserveRetry time.Duration
	// ServerOptions are added to the server's own.
	ServerOptions []grpc.ServerOption
}

// Server serves Sync streams.
type Server struct {
	fleetv1.UnimplementedFleetServer

	// immutable
	c        Config
	log      *slog.Logger
	nodes    *nodes.Registry
	encoder  *encoder
	fleet    fleetMessage
	counts   counters
	refusals refusals
	// whole holds a token for each stream that is being sent a whole configuration, but for
	// those that take it slowly, of which slow has them.
	whole, slow chan struct{}

	stopOnce sync.Once
	stopping chan struct{}
}

// maxWhole is how many streams are sent whole configurations at a time: a
// fleet that starts anew shall not push the control plane out of memory, nor
// make the first node wait for the last.
const maxWhole = 4

// New starts nothing.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnEvent == nil {
		c.OnEvent = func(Event) {}
	}
	if c.ObserveRetry == 0 {
		c.ObserveRetry = time.Minute
	}
	s := &Server{
		c: c, log: c.Logger, nodes: c.Nodes,
		whole:    make(chan struct{}, maxWhole),
		slow:     make(chan struct{}, maxSlow),
		stopping: make(chan struct{}),
	}
	s.encoder = newEncoder(c.Publisher, c.Now, &s.counts)
	return s
}

// Serve accepts nodes on l until ctx ends, and closes l. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := checkListener(l, s.c.Insecure); err != nil {
		_ = l.Close()
		return err
	}
	server := grpc.NewServer(append(serverOptions(), s.c.ServerOptions...)...)
	fleetv1.RegisterFleetServer(server, s)

	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	wait.Go(func() { s.keepHouse(ctx) })
	wait.Go(func() {
		<-ctx.Done()
		s.stop(server)
	})
	err := server.Serve(l)
	cancel()
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) && !wakeup.Closed(s.stopping) {
		return fmt.Errorf("sync stream: serve on %s: %w", l.Addr(), err)
	}
	return nil
}

func serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(maxNodeMessage),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.ConnectionTimeout(helloTimeout),
		grpc.MaxConcurrentStreams(maxStreams),
	}
}

// stop ends the streams with a reason, then the server.
func (s *Server) stop(server *grpc.Server) {
	s.stopOnce.Do(func() { close(s.stopping) })
	graceful := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(graceful)
	}()
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	select {
	case <-graceful:
	case <-t.C:
		// A stream that is stuck in a send: its peer reads nothing.
		server.Stop()
		<-graceful
	}
}

// checkListener refuses to speak plaintext beyond this machine.
func checkListener(l net.Listener, allowed bool) error {
	if allowed {
		return nil
	}
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return nil // unix sockets, and pipes of tests
	}
	return fmt.Errorf("sync stream: %s is not a loopback address: the stream is plaintext until nodes can enrol, so this needs --insecure", tcp)
}

// keepHouse drops encodings that nobody asked for.
func (s *Server) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.encoder.forget()
		}
	}
}
