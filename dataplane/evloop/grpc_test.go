//go:build linux

package evloop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// callThrough serves server behind n, by HTTP/2, and makes a connection to it through n.
func callThrough(t *testing.T, n *node, server *grpc.Server) (*grpc.ClientConn, *table.Upstream) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	u := newUpstream("u", l.Addr().String())
	u.HTTP2 = true
	n.apply(nil, forwardAll(u))
	conn, err := grpc.NewClient(n.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, u
}

// TestGRPCGoesThrough makes calls with one answer and with many, an error that is
// all trailers, and one that is given up.
func TestGRPCGoesThrough(t *testing.T) {
	n := startNode(t, 1)
	server, state := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, state)
	conn, u := callThrough(t, n, server)
	client := grpc_health_v1.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for range 5 {
		answer, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%v, %v", answer, err)
		}
	}
	if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "none"}); status.Code(err) != codes.NotFound {
		t.Errorf("an error: %v", err)
	}
	watching, stop := context.WithCancel(ctx)
	stream, err := client.Watch(watching, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{
		grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING, grpc_health_v1.HealthCheckResponse_SERVING,
	} {
		state.SetServingStatus("", want)
		if answer, err := stream.Recv(); err != nil || answer.GetStatus() != want {
			t.Errorf("%v, %v, want %v", answer, err, want)
		}
	}
	stop()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("given up: %v", err)
	}
	eventually(t, "the call's end", func() bool { return n.engine.registry.Endpoint(u.Endpoints[0].Slot).InFlight() == 0 })
}

// TestACallOfManySmallMessagesGoesThrough in both directions: both ends answer each of
// them by a PING, to measure the path.
func TestACallOfManySmallMessagesGoesThrough(t *testing.T) {
	n := startNode(t, 1)
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		for {
			var m emptypb.Empty
			if err := stream.RecvMsg(&m); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := stream.SendMsg(&m); err != nil {
				return err
			}
		}
	}))
	conn, _ := callThrough(t, n, server)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/s/echo")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&emptypb.Empty{}); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

// TestACallThatItsServerCancelsIsCancelledForItsClient at any point of the answer: a
// server whose deadline passes first sends CANCEL, of which clients make
// DEADLINE_EXCEEDED. Its handlers do not return, or their status would race with that.
func TestACallThatItsServerCancelsIsCancelledForItsClient(t *testing.T) {
	n := startNode(t, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if method, _ := grpc.MethodFromServerStream(stream); method == "/s/began" {
			if err := stream.SendHeader(nil); err != nil {
				return err
			}
		}
		<-over
		return stream.Context().Err()
	}))
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		close(over)
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	u := newUpstream("u", l.Addr().String())
	u.HTTP2 = true
	n.apply(nil, forwardAll(u))
	for i, method := range []string{"/s/silent", "/s/began"} {
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for _, f := range [][2]string{
			{":method", "POST"},
			{":scheme", "http"},
			{":path", method},
			{":authority", "a"},
			{"content-type", "application/grpc"},
			{"te", "trailers"},
			{"grpc-timeout", "20m"},
		} {
			if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
				t.Fatal(err)
			}
		}
		c, f := n.framesTo()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
			t.Fatal(err)
		}
		for reset := false; !reset; {
			switch frame, err := f.ReadFrame(); frame := frame.(type) {
			case *http2.RSTStreamFrame:
				if reset = true; frame.ErrCode != http2.ErrCodeCancel {
					t.Errorf("%s: reset by %v", method, frame.ErrCode)
				}
			case *http2.HeadersFrame:
				if reset = frame.StreamEnded(); reset {
					t.Errorf("%s: answered", method)
				}
			case nil:
				t.Fatalf("%s: %v", method, err)
			}
		}
		n.records.wait(t, i+1)
	}
}
