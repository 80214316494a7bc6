package lastgood

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/proto/durable"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

const (
	ticketsName = "tickets"
	// aboutTickets is what the sealed bytes of the file are about.
	aboutTickets = "proxyfleet last good tickets"
	// maxTickets is far more than three keys.
	maxTickets = 4 << 10
)

// Tickets keeps the session-ticket keys that the fleet had last, so that a node
// that starts while nobody answers resumes the sessions of its clients.
type Tickets struct {
	path   string
	key    *seal.Key
	logger *slog.Logger
}

// OpenTickets is of a directory that Open made.
func OpenTickets(dir string, key *seal.Key, logger *slog.Logger) *Tickets {
	return &Tickets{path: filepath.Join(dir, ticketsName), key: key, logger: logger}
}

// Load reads them; nil: there are none, or none that hold.
func (t *Tickets) Load() *fleetv1.TicketKeys {
	keys, err := t.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.logger.Error("session-ticket keys: not believed; clients shake hands in full once", "file", t.path, "error", err)
	}
	return keys
}

func (t *Tickets) read() (*fleetv1.TicketKeys, error) {
	f, err := os.Open(t.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sealed, err := io.ReadAll(io.LimitReader(f, maxTickets))
	if err != nil {
		return nil, err
	}
	plain, err := t.key.Open(sealed, []byte(aboutTickets))
	if err != nil {
		return nil, err
	}
	keys := &fleetv1.TicketKeys{}
	if proto.Unmarshal(plain, keys) != nil {
		return nil, errDamaged // the cause might quote a key
	}
	return keys, nil
}

// Write puts keys in the place of those before.
func (t *Tickets) Write(keys *fleetv1.TicketKeys) error {
	plain, err := proto.Marshal(keys)
	if err != nil {
		return fmt.Errorf("session-ticket keys of revision %d cannot be encoded", keys.GetRevision())
	}
	if err := t.key.Keep(filepath.Join(filepath.Dir(t.path), keyName)); err != nil {
		return err
	}
	return durable.Replace(t.path, t.key.Seal(plain, []byte(aboutTickets)), nil)
}
