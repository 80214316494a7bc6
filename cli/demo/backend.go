package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	backendFirstPort = 9001
	backendPorts     = 5
	// backendMaxBody bounds what the sample reads of a request body.
	backendMaxBody = 64 << 20
)

// echoedHeaders returns the names of the request fields that the sample
// backend repeats in its answer: those that a proxy sets, and the one by which
// the first configuration tells testers apart.
func echoedHeaders() []string {
	return []string{
		"User-Agent", "X-Group", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
		"Forwarded", "Via", "Traceparent", "X-Request-Id",
	}
}

// backendAnswer is what the sample backend says about a request.
type backendAnswer struct {
	Port    int               `json:"port"`
	Method  string            `json:"method"`
	Host    string            `json:"host"`
	Path    string            `json:"path"`
	Body    int64             `json:"body,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// BackendAddresses are where the sample backend listens.
func BackendAddresses() []string {
	addresses := make([]string, backendPorts)
	for i := range addresses {
		addresses[i] = net.JoinHostPort("127.0.0.1", strconv.Itoa(backendFirstPort+i))
	}
	return addresses
}

// ServeBackend is the sample backend: it answers on all addresses until the
// context ends. Each answer is one line of JSON that names the port it came
// from and repeats the request's method, path and some of its header fields.
func ServeBackend(ctx context.Context, addresses []string) error {
	var config net.ListenConfig
	var listeners []net.Listener
	closeAll := func() {
		for _, l := range listeners {
			l.Close()
		}
	}
	for _, address := range addresses {
		l, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			closeAll()
			return fmt.Errorf("backend: %w", err)
		}
		listeners = append(listeners, l)
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(answer),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	ended := 0
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		ended = 1
	}
	_ = server.Close()
	for ; ended < len(listeners); ended++ {
		err = errors.Join(err, <-failed)
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("backend: %w", err)
}

func answer(w http.ResponseWriter, r *http.Request) {
	port := 0
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		port = a.Port
	}
	read, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, backendMaxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	a := backendAnswer{
		Port: port, Method: r.Method, Host: r.Host, Path: r.URL.RequestURI(), Body: read,
		Headers: map[string]string{},
	}
	for _, name := range echoedHeaders() {
		if v := r.Header.Get(name); v != "" {
			a.Headers[name] = v
		}
	}
	line, err := json.Marshal(a)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	line = append(line, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(line)))
	w.Header().Set("X-Backend", strconv.Itoa(port))
	// The client may be gone; there is nobody to tell.
	_, _ = w.Write(line)
}
