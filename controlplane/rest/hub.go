package rest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// maxStreams bounds the open event streams.
	maxStreams = 256
	// streamBuffer bounds the events that wait for one slow reader: a change and
	// an answer from each of 100 nodes, and as much again.
	streamBuffer = 256
	// changesAtOnce bounds the changes that are told one by one after a gap;
	// older ones are in the history.
	changesAtOnce = 100
	// changesPage is how many changes are read at once: mostly one is new.
	changesPage = 10
	// catchUpTimeout bounds one look at the store.
	catchUpTimeout = 10 * time.Second
)

// Watcher tells when to look again. The channel is coalesced: one receive may
// stand for many happenings. It is closed when ctx ends.
type Watcher interface {
	Watch(ctx context.Context) <-chan struct{}
}

// message is an event, encoded once for all streams.
type message struct {
	id   uint64
	kind api.EventType
	data []byte
}

// hub turns what the store and the nodes look like into events: it looks when
// told to, compares with what it saw last, and sends each difference to every
// stream. A reader that is too slow loses its stream, never holds up the others.
type hub struct {
	server *Server
	// owned by lookAtHead
	looked bool
	seen   api.Version // the newest change
	// owned by lookAtNodes
	nodes map[string]api.NodeStatus // nil before the first look
	// guarded by mu
	mu      sync.Mutex
	next    uint64
	ended   bool
	streams map[*subscription]struct{}
}

// subscription is one reader. events is closed when the reader lagged or the hub ended.
type subscription struct {
	events chan message
	lagged bool // written before events is closed, read after
}

func newHub(s *Server) *hub {
	return &hub{server: s, next: 1, streams: map[*subscription]struct{}{}}
}

var errHubEnded = errors.New("the control plane is stopping")

func (h *hub) subscribe() (*subscription, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil, api.NewError(api.TypeUnavailable, "%v", errHubEnded)
	}
	if len(h.streams) >= maxStreams {
		return nil, api.NewError(api.TypeUnavailable, "%d event streams are open, which is the limit", maxStreams)
	}
	st := &subscription{events: make(chan message, streamBuffer)}
	h.streams[st] = struct{}{}
	return st, nil
}

func (h *hub) unsubscribe(st *subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, st)
}

// number gives an event its id and encodes it.
func (h *hub) number(e api.Event) message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.numberLocked(e)
}

func (h *hub) numberLocked(e api.Event) message {
	e.ID = h.next
	h.next++
	e.Time = h.server.cfg.Now().UTC()
	data, err := json.Marshal(e)
	if err != nil {
		h.server.cfg.Logger.Error("rest: event", "type", e.Type, "error", err)
	}
	return message{id: e.ID, kind: e.Type, data: data}
}

func (h *hub) publish(e api.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.streams) == 0 {
		return
	}
	m := h.numberLocked(e)
	for st := range h.streams {
		select {
		case st.events <- m:
		default:
			st.lagged = true
			close(st.events)
			delete(h.streams, st)
		}
	}
}

// run looks at the store and the nodes until ctx ends, then ends all streams.
func (h *hub) run(ctx context.Context) {
	// Apart from each other: a store that does not answer keeps back nothing that
	// nodes say.
	var looks sync.WaitGroup
	looks.Go(func() { look(h.server.cfg.Heads.Watch(ctx), func() { h.lookAtHead(ctx) }) })
	looks.Go(func() { look(h.server.cfg.Nodes.Watch(ctx), h.lookAtNodes) })
	looks.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for st := range h.streams {
		close(st.events)
		delete(h.streams, st)
	}
}

// look looks once, which only learns what is there, since streams begin with the
// status; and whenever it is told to, until again is closed.
func look(again <-chan struct{}, at func()) {
	for ok := true; ok; _, ok = <-again {
		at()
	}
}

// lookAtHead publishes the changes since the last look, oldest first.
func (h *hub) lookAtHead(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	first := !h.looked
	var changes []*fleetv1.Change // newest first
	for before := uint64(0); len(changes) < changesAtOnce; {
		page, err := h.server.cfg.Store.History(ctx, before, changesPage)
		if err != nil {
			// The watch ticks again.
			h.server.cfg.Logger.Debug("rest: events: history not read", "error", err)
			return
		}
		changes = append(changes, page...)
		if first || len(page) < changesPage || page[len(page)-1].GetRevision() <= h.seen.Revision {
			break
		}
		before = page[len(page)-1].GetRevision()
	}
	h.looked = true
	if len(changes) == 0 {
		return
	}
	was := h.seen
	h.seen = historyEntry(changes[0]).Version
	if h.seen == was {
		h.server.confirm(was.Revision)
	} else if _, err := h.server.current(ctx); err != nil { // so that it is known if the store goes away
		h.server.cfg.Logger.Debug("rest: current configuration not read", "error", err)
	}
	if first || h.seen == was {
		return
	}
	if h.seen.Revision <= was.Revision {
		changes = changes[:1] // another store: what was before is not news
	}
	for _, change := range slices.Backward(changes) {
		if entry := historyEntry(change); entry.Revision > was.Revision || h.seen.Revision <= was.Revision {
			h.publish(api.Event{Type: api.EventChange, Change: &entry})
		}
	}
}

// lookAtNodes publishes how the nodes differ from the last look.
func (h *hub) lookAtNodes() {
	seen := make(map[string]api.NodeStatus, len(h.nodes))
	for _, now := range h.server.cfg.Nodes.Nodes() {
		seen[now.ID] = now
		if h.nodes == nil {
			continue
		}
		for _, kind := range nodeEvents(h.nodes[now.ID], now) {
			h.publish(api.Event{Type: kind, Node: &now})
		}
	}
	h.nodes = seen
}

// nodeEvents says what happened to a node between two looks; before is zero for
// a node that was not there.
func nodeEvents(before, now api.NodeStatus) []api.EventType {
	var kinds []api.EventType
	switch {
	case now.Connected && !before.Connected:
		kinds = append(kinds, api.EventNodeConnected)
	case !now.Connected && before.Connected:
		kinds = append(kinds, api.EventNodeDisconnected)
	}
	if now.Running != nil && (before.Running == nil || *before.Running != *now.Running) && now.Connected {
		kinds = append(kinds, api.EventNodeAcked)
	}
	// A refusal stands until the next answer; another version refused is another event.
	if refuses(now) && (before.State != now.State || before.Wanted != now.Wanted) {
		kinds = append(kinds, api.EventNodeNacked)
	}
	return kinds
}

// refuses says whether a node has answered what is wanted by not taking it.
func refuses(n api.NodeStatus) bool { return n.State == api.Rejected || n.State == api.Held }
