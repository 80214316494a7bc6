package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

// interopLog turns what grpc's test cases call fatal into a failed test: else they
// end the process.
type interopLog struct {
	grpclog.LoggerV2
	t *testing.T
}

func (l interopLog) Fatal(args ...any)                 { l.t.Fatal(args...) }
func (l interopLog) Fatalf(format string, args ...any) { l.t.Fatalf(format, args...) }
func (l interopLog) Fatalln(args ...any)               { l.t.Fatal(args...) }

// interopServer runs grpc's own test server.
func interopServer(t *testing.T, options ...grpc.ServerOption) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	grpc_testing.RegisterTestServiceServer(server, interop.NewTestServer())
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// grpcNode is a node before two of grpc's servers, one of which speaks TLS. Their
// hosts are plain.test and tls.test. There is another whose server is not there.
func grpcNode(t *testing.T, p *certificatetest.Pair) *fleettest.Node {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(p.Chain), []byte(p.Key))
	if err != nil {
		t.Fatal(err)
	}
	var routes strings.Builder
	for name, spec := range map[string]string{
		"plain": fmt.Sprintf(`endpoints: [{address: "%s"}]`, interopServer(t)),
		"tls": fmt.Sprintf(`endpoints: [{address: "%s"}], tls: {serverName: tls.test, skipVerify: true}`,
			interopServer(t, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))),
		"none": `endpoints: [{address: "127.0.0.1:1"}]`,
	} {
		fmt.Fprintf(&routes, `---
kind: Upstream
name: %[1]s
spec: {protocol: HTTP2, %[2]s}
---
kind: Route
name: %[1]s
spec: {listeners: [http, https], hosts: [%[1]s.test], forward: [{upstream: %[1]s}]}
`, name, spec)
	}
	return fleettest.Standalone(t, httpsListener+certificateDocument(t, "site", p)+`
kind: Listener
name: http
spec: {port: 8080, protocol: HTTP}
`+routes.String())
}

// dialGRPC opens a client's connection to a node, for one of its hosts.
func dialGRPC(t *testing.T, n *fleettest.Node, host string, p *certificatetest.Pair, overTLS bool) *grpc.ClientConn {
	t.Helper()
	address, creds := n.Address+":8080", insecure.NewCredentials()
	if overTLS {
		pool := x509.NewCertPool()
		pool.AddCert(p.Certificate)
		address, creds = n.Address+":8443", credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: host})
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds), grpc.WithAuthority(host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestGRPCInteropPasses runs grpc's interoperability cases from its client to its
// server, with and without TLS on each side of a node.
func TestGRPCInteropPasses(t *testing.T) {
	p := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"plain.test", "tls.test", "none.test"}})
	n := grpcNode(t, p)
	for _, overTLS := range []bool{false, true} {
		for _, upstream := range []string{"plain", "tls"} {
			conn := dialGRPC(t, n, upstream+".test", p, overTLS)
			client := grpc_testing.NewTestServiceClient(conn)
			with := func(do func(context.Context, grpc_testing.TestServiceClient, ...grpc.CallOption)) func(context.Context) {
				return func(ctx context.Context) { do(ctx, client) }
			}
			for name, do := range map[string]func(context.Context){
				"empty_unary":                 with(interop.DoEmptyUnaryCall),
				"large_unary":                 with(interop.DoLargeUnaryCall),
				"client_streaming":            with(interop.DoClientStreaming),
				"server_streaming":            with(interop.DoServerStreaming),
				"ping_pong":                   with(interop.DoPingPong),
				"empty_stream":                with(interop.DoEmptyStream),
				"timeout_on_sleeping_server":  with(interop.DoTimeoutOnSleepingServer),
				"cancel_after_begin":          with(interop.DoCancelAfterBegin),
				"cancel_after_first_response": with(interop.DoCancelAfterFirstResponse),
				"status_code_and_message":     with(interop.DoStatusCodeAndMessage),
				"special_status_message":      with(interop.DoSpecialStatusMessage),
				"custom_metadata":             with(interop.DoCustomMetadata),
				"unimplemented_method":        func(ctx context.Context) { interop.DoUnimplementedMethod(ctx, conn) },
				"unimplemented_service": func(ctx context.Context) {
					interop.DoUnimplementedService(ctx, grpc_testing.NewUnimplementedServiceClient(conn))
				},
			} {
				t.Run(fmt.Sprintf("tls=%v/upstream=%s/%s", overTLS, upstream, name), func(t *testing.T) {
					grpclog.SetLoggerV2(interopLog{grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard), t})
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					do(ctx)
				})
			}
		}
	}
}

// TestErrorsOfANodeReachGRPCClientsAsStatus has an endpoint that is not there and a
// host that no route has.
func TestErrorsOfANodeReachGRPCClientsAsStatus(t *testing.T) {
	p := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"none.test", "other.test"}})
	n := grpcNode(t, p)
	for _, overTLS := range []bool{false, true} {
		for host, want := range map[string]struct {
			code codes.Code
			text string
		}{
			"none.test":  {codes.Unavailable, "the endpoint did not accept a connection (request "},
			"other.test": {codes.Unimplemented, "no route takes this request (request "},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			_, err := grpc_testing.NewTestServiceClient(dialGRPC(t, n, host, p, overTLS)).EmptyCall(ctx, &grpc_testing.Empty{})
			cancel()
			if s := status.Convert(err); s.Code() != want.code || !strings.HasPrefix(s.Message(), want.text) {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
}
