package secure

import (
	"crypto/tls"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// Client meets one endpoint. It keeps the endpoint's last session, so that the
// next connection resumes it.
type Client struct {
	of     *table.UpstreamTLS
	config *tls.Config
}

// NewClient makes the client of t for the endpoint at host. protocols are
// offered, the dearest first.
func NewClient(t *table.UpstreamTLS, host string, protocols ...string) *Client {
	c := &Client{of: t, config: &tls.Config{
		MinVersion:         tls.VersionTLS12,
		CipherSuites:       suites(),
		NextProtos:         protocols,
		ServerName:         t.ServerName,
		RootCAs:            t.CAs,
		InsecureSkipVerify: t.SkipVerify,                    //nolint:gosec // where the upstream says so
		ClientSessionCache: tls.NewLRUClientSessionCache(1), // they are kept by ServerName
	}}
	if t.ServerName == "" {
		c.config.ServerName = host
	}
	if t.Certificate != nil {
		pair := &t.Certificate.Pair
		c.config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return c
}

// Of is what c was made of.
func (c *Client) Of() *table.UpstreamTLS { return c.of }

// Conn makes one connection.
func (c *Client) Conn() *Conn { return newConn(false, c.config) }
