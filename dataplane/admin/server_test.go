package admin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestStrangersAreKeptOut(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		name, path string
		header     []string
		want       int
	}{
		{"a page of another name", "/config", []string{"Host", "evil.example:7402"}, 403},
		{"an address", "/config", []string{"Host", "[::1]:7402"}, 200},
		{"localhost", "/config", []string{"Host", "localhost"}, 200},
		{"profiles from here", "/debug/pprof/", nil, 200},
		{"profiles from elsewhere", "/debug/pprof/", []string{"Remote", "192.0.2.1:1"}, 403},
		{"commands from elsewhere", "/debug/pprof/cmdline", []string{"Remote", "192.0.2.1:1"}, 403},
		{"other paths", "/", nil, 404},
	} {
		if code, body := f.get(t, tt.path, tt.header...); code != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.name, code, body, tt.want)
		}
	}
}

func TestListenRefusesTheWorld(t *testing.T) {
	if l, err := Listen(t.Context(), "0.0.0.0:0", false); err == nil {
		l.Close()
		t.Error("listens everywhere without --insecure")
	}
	for i, address := range []string{"127.0.0.1:0", "127.0.0.11:0"} {
		l, err := Listen(t.Context(), address, false)
		if err != nil && i == 0 {
			t.Fatal(err)
		}
		if err != nil {
			t.Skip("this system has one loopback address alone: ", err)
		}
		l.Close()
	}
	l, err := Listen(t.Context(), "0.0.0.0:0", true)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestRunServesUntilTheContextEnds(t *testing.T) {
	f := newFixture(t)
	s, err := New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l, err := Listen(ctx, "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + l.Addr().String() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("still listening")
	}
}

func TestTooManyAnswersAreRefused(t *testing.T) {
	f := newFixture(t)
	s, err := New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	for range maxAnswers {
		s.slots <- struct{}{}
	}
	w := httptest.NewRecorder()
	s.Handler(true).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/metrics", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d, want 503", w.Code)
	}
}

// TestWhoDoesNotReadAnAnswerKeepsNobodyFromTheirs for longer than it may take.
func TestWhoDoesNotReadAnAnswerKeepsNobodyFromTheirs(t *testing.T) {
	s, err := New(newFixture(t).config)
	if err != nil {
		t.Fatal(err)
	}
	s.answerTime = 50 * time.Millisecond
	begun := make(chan struct{}, maxAnswers)
	server := httptest.NewServer(s.bounded(func(w http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		for _, err := w.Write(make([]byte, 1<<20)); err == nil; { // more than any socket takes
			_, err = w.Write(make([]byte, 1<<20))
		}
	}))
	t.Cleanup(server.Close)
	for range maxAnswers {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-begun
	}
	for range maxAnswers {
		select {
		case s.slots <- struct{}{}:
		case <-time.After(10 * time.Second):
			t.Fatal("an answer that nobody reads is kept")
		}
	}
}
