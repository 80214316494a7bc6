// Command goproxy is the standard library's reverse proxy as people run it: as its
// documentation shows it, or with --tuned as the articles about its speed advise.
// It is a rival in the measurements, not a part of the product.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

func main() {
	listen := flag.String("listen", "", "address to listen on")
	backend := flag.String("backend", "", "address of the backend")
	tuned := flag.Bool("tuned", false, "raise the limits of the pool, keep buffers")
	connections := flag.Int("connections", 0, "connections to keep, with --tuned")
	flag.Parse()
	if err := run(*listen, *backend, *tuned, *connections); err != nil {
		fmt.Fprintln(os.Stderr, "goproxy:", err)
		os.Exit(1)
	}
}

func run(listen, backend string, tuned bool, connections int) error {
	target := &url.URL{Scheme: "http", Host: backend}
	if !tuned {
		return http.ListenAndServe(listen, httputil.NewSingleHostReverseProxy(target))
	}
	transport := &http.Transport{
		MaxIdleConns:        0, // no limit; 100 by default
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     time.Hour,
		DisableCompression:  true,
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
		},
		Transport:  transport,
		BufferPool: &buffers{sync.Pool{New: func() any { b := make([]byte, copySize); return &b }}},
		ErrorLog:   log.New(io.Discard, "", 0),
	}
	server := &http.Server{Addr: listen, Handler: proxy, IdleTimeout: time.Hour}
	return server.ListenAndServe()
}

// copySize is what ReverseProxy uses for copying bodies.
const copySize = 32 << 10

// buffers keeps the buffers that bodies are copied through.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return *b.pool.Get().(*[]byte) }
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
