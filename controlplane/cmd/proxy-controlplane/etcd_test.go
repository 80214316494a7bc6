package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
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

// TestAnEtcdThatWantsACertificateIsToldSo: it says so after the handshake only, and all that
// etcd's client says is that its time was up.
func TestAnEtcdThatWantsACertificateIsToldSo(t *testing.T) {
	for name, wanted := range map[string]tls.ClientAuthType{"it wants one": tls.RequireAnyClientCert, "it wants none": tls.NoClientCert} {
		server := httptest.NewUnstartedServer(nil)
		server.TLS = &tls.Config{ClientAuth: wanted}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		secured := tlsConfig()
		secured.RootCAs = x509.NewCertPool()
		secured.RootCAs.AddCert(server.Certificate())
		err := connect(t.Context(), server.URL, secured)
		server.Close()
		if told := err != nil && strings.Contains(err.Error(), "certificate required"); told != (wanted != tls.NoClientCert) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
