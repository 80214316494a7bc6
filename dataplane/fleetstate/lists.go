package fleetstate

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// listRetry is the pause after the list could not be kept.
const listRetry = time.Second

// Lists keeps the list of expected members, by which the node grants virtual IPs.
type Lists struct {
	goBy   func(member.List)
	logger *slog.Logger
	asks   wakeup.Signal // there is a list

	// guarded by mu
	mu   sync.Mutex
	dir  string      // where the list is kept; empty: nowhere
	list member.List // kept, and granted by
	next member.List // the last that the control plane said
}

// NewLists makes one that calls goBy with each list that is kept, in order, but the one
// of Remember.
func NewLists(goBy func(member.List), logger *slog.Logger) *Lists {
	return &Lists{goBy: goBy, logger: logger, asks: wakeup.NewSignal()}
}

// Remember takes up the list that was kept in a directory, and has the next ones kept
// there.
func (l *Lists) Remember(dir string) member.List {
	list, err := lastgood.LoadList(dir)
	if err != nil {
		l.logger.Error("virtual IPs: the list of expected members is not believed: this node waits for the control plane's", "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dir, l.list = dir, list
	return list
}

// Recall takes up what the process before this one may have kept since this one
// started: it granted by that. It comes before Run, which would take a newer list before.
func (l *Lists) Recall() {
	l.mu.Lock()
	dir, list := l.dir, l.list
	l.mu.Unlock()
	if dir == "" {
		return
	}
	if kept, err := lastgood.LoadList(dir); err == nil && list.Follows(kept) {
		l.follow(kept)
	}
}

// Take takes the list of expected members. It does not block.
func (l *Lists) Take(s *fleetv1.FleetState) {
	next := member.List{Lineage: s.GetListLineage(), Revision: s.GetListRevision()}
	for _, m := range s.GetMembers() {
		if m.GetExpected() {
			next.IDs = append(next.IDs, m.GetNodeId())
		}
	}
	slices.Sort(next.IDs)
	l.mu.Lock()
	l.next = next
	l.mu.Unlock()
	l.asks.Send()
}

// List is the one that is kept.
func (l *Lists) List() member.List {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list
}

// Run keeps what Take took until ctx ends.
func (l *Lists) Run(ctx context.Context) error {
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.asks:
		case <-retry:
		}
		retry = nil
		l.mu.Lock()
		dir, list, next := l.dir, l.list, l.next
		l.mu.Unlock()
		if !list.Follows(next) {
			continue
		}
		if dir != "" {
			if err := lastgood.SaveList(dir, next); err != nil {
				l.logger.Error("virtual IPs: this node goes on by the list before", "error", err, "retry_in", listRetry)
				retry = time.After(listRetry)
				continue
			}
		}
		l.follow(next)
	}
}

// follow goes by a list that is kept.
func (l *Lists) follow(list member.List) {
	l.mu.Lock()
	l.list = list
	l.mu.Unlock()
	l.logger.Debug("virtual IPs: expected members", "revision", list.Revision, "members", len(list.IDs))
	l.goBy(list)
}
