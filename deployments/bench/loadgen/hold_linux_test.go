package loadgen

import (
	"bufio"
	"fmt"
	"io"
	"testing"
	"time"
)

func TestConnectionsAreHeldUntilTheControlEnds(t *testing.T) {
	address, count := backendFor(t)
	in, control := io.Pipe()
	outRead, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := RunHold(HoldOptions{Target: address, Request: Request("a.test", "/"), Control: in, Out: out})
		out.CloseWithError(err)
		done <- err
	}()
	answers := bufio.NewReader(outRead)
	for _, want := range []int{3, 10} {
		fmt.Fprintln(control, want)
		var held int
		if _, err := fmt.Fscan(answers, &held); err != nil || held != want {
			t.Fatal(held, err)
		}
		if n, open := count(); n != want || open != want {
			t.Errorf("%d answered and %d open, want %d", n, open, want)
		}
	}
	control.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for _, open := count(); open > 0; _, open = count() {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are still open", open)
		}
	}
}

func TestConnectionsOfTLSAreHeld(t *testing.T) {
	backend, count := serverFor(t, 1024)
	in, control := io.Pipe()
	outRead, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- RunHold(HoldOptions{
			Target: secured(t, backend), TLS: true, ServerName: "example.com", Request: Post("a.test", "/", 32<<10), Control: in, Out: out,
		})
	}()
	fmt.Fprintln(control, 3)
	var held int
	if _, err := fmt.Fscan(outRead, &held); err != nil || held != 3 {
		t.Fatal(held, err)
	}
	if n, open := count(); n != 3 || open != 3 {
		t.Errorf("%d answered and %d open, want 3", n, open)
	}
	control.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
