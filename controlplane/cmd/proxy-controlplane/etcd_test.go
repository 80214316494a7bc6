package main

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnEtcdThatDoesNotAnswerIsToldByWhatItsEndpointsSay(t *testing.T) {
	plain, secured := httptest.NewServer(nil), httptest.NewTLSServer(nil)
	defer plain.Close()
	defer secured.Close()
	closed := freeURL(t)
	told := strings.Split(reach(t.Context(), []string{
		plain.URL, plain.URL + "/", secured.URL, closed.String(), "unix://" + t.TempDir() + "/none",
	}), "; ")
	for i, want := range []string{"takes connections", "takes connections", "certificate", "connection refused", "no such file"} {
		if !strings.Contains(told[i], want) {
			t.Errorf("%q: expected %q", told[i], want)
		}
	}
}
