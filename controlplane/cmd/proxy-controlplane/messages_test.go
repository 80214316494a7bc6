package main

import (
	"net/http"
	"strings"
	"testing"
)

// unread is a pipe whose reader has stopped.
type unread struct{ free chan struct{} }

func (u unread) Write(b []byte) (int, error) {
	<-u.free
	return len(b), nil
}

func TestAControlPlaneWhoseMessagesNobodyReadsServes(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	u := unread{make(chan struct{})}
	dir := t.TempDir()
	p := launchWith(t, u, "--data-dir", dir, "--log-level", "debug")
	p.ready(dir)
	if code, text := p.call("POST", "/v1/apply", route); code != http.StatusOK {
		t.Errorf("apply: %d %s", code, text)
	}
	if _, text := p.call("GET", "/metrics", ""); !strings.Contains(string(text), metricUnwritten+" ") {
		t.Errorf("no %s", metricUnwritten)
	}
	if code := p.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	close(u.free)
}
