package feed

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// A control plane that answers no ping for keepaliveTime+keepaliveTimeout is
	// left for the next one. gRPC allows clients no shorter time than 10 s.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
	// connectTimeout bounds one try to open a connection.
	connectTimeout = 5 * time.Second
)

// CheckAddress refuses an address of a control plane that names none, and one that may
// not be spoken to in plaintext: beyond loopback it has to be allowed.
func CheckAddress(address string, allowed bool) error {
	if path, local := strings.CutPrefix(address, "unix:"); local && path != "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	number, notPort := strconv.ParseUint(port, 10, 16)
	if err != nil || notPort != nil || host == "" || number == 0 {
		return fmt.Errorf("%q: expected HOST:PORT, such as 10.0.0.5:7401, or unix:/PATH", address)
	}
	if allowed || host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("%q is not a loopback address: the connection is plaintext until nodes can enrol, so this needs --insecure", address)
}

// grpcLink is a Sync stream and the connection that it alone uses.
type grpcLink struct {
	grpc.BidiStreamingClient[fleetv1.NodeMessage, fleetv1.ServerMessage]
	conn *grpc.ClientConn
}

// Close ends the stream and the connection. It may be called twice.
func (l grpcLink) Close() { _ = l.conn.Close() }

// dial opens a connection and a stream, or fails at once: backoff and the choice
// of the next control plane are the feed's.
func (f *Feed) dial(ctx context.Context, address string) (link, error) {
	target := address
	if !strings.HasPrefix(address, "unix:") {
		// The dialer resolves names, at each try.
		target = "passthrough:///" + address
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectTimeout}),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
	}, f.c.DialOptions...)
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("control plane %q: %w", address, err)
	}
	stream, err := fleetv1.NewFleetClient(conn).Sync(ctx)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("control plane %q: %w", address, err)
	}
	return grpcLink{stream, conn}, nil
}

// backoff is a pause that doubles up to a bound. Each pause is drawn between
// half and the whole, so that a fleet does not come back in step.
type backoff struct {
	first, most time.Duration
	current     time.Duration
}

// reconnectBackoff pauses 100 to 200 ms first, and at most 5 s.
func reconnectBackoff() backoff {
	return backoff{first: 200 * time.Millisecond, most: 5 * time.Second}
}

// retryBackoff pauses 1 to 2 s first, and at most 60 s.
func retryBackoff() backoff {
	return backoff{first: 2 * time.Second, most: time.Minute}
}

func (b *backoff) next() time.Duration {
	if b.current == 0 {
		b.current = b.first
	} else {
		b.current = min(2*b.current, b.most)
	}
	return b.current/2 + rand.N(b.current/2+1)
}

func (b *backoff) reset() { b.current = 0 }

// startIndex spreads the nodes of a fleet over its control planes.
func startIndex(nodeID string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(nodeID))
	return int(h.Sum32() % uint32(n))
}
