package nodes

import (
	"fmt"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/roster"
)

const (
	// standsFor is how long the list may stand still until that is told: nodes report a list
	// within a second, and one that starts again within some.
	standsFor = 15 * time.Second
	// namesTold bounds the ids of one notice.
	namesTold = 5
)

// standstill is why the list of expected members does not follow, and since when that is so.
type standstill struct {
	roster.Standstill
	since time.Time // of Silent; zero: nobody is
}

// noteStandstill takes note of what a look at the list found. The caller holds mu.
func (r *Registry) noteStandstill(why roster.Standstill, now time.Time) {
	since := r.stands.since
	switch {
	case len(why.Silent) == 0:
		since = time.Time{}
	case since.IsZero():
		since = now
	}
	if n := len(why.LeftOut); n > 0 && n != len(r.stands.LeftOut) {
		r.log.Warn("expected members: the list takes no more", "members", roster.MaxMembers, "left_out", n, "first", why.LeftOut[0])
	}
	r.stands = standstill{why, since}
}

// Notices are what people should know of the list of expected members.
func (r *Registry) Notices() (notices []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	why := r.stands
	if !why.since.IsZero() && r.c.Now().Sub(why.since) >= standsFor {
		notices = append(notices, fmt.Sprintf(
			"the list of expected members does not follow the nodes: %d of %s must report it first: start them again, or, where a machine is lost, a node under its id with an empty state directory",
			why.More, named(why.Silent)))
	}
	if len(why.LeftOut) > 0 {
		notices = append(notices, fmt.Sprintf(
			"the list of expected members is full with %d; without a part in virtual IPs: %s: delete the members that are gone (proxyctl nodes delete), or say expected: false of some",
			roster.MaxMembers, named(why.LeftOut)))
	}
	return notices
}

// named are ids, the first few.
func named(ids []string) string {
	if more := len(ids) - namesTold; more > 1 {
		return fmt.Sprintf("%s and %d others", strings.Join(ids[:namesTold], ", "), more)
	}
	return strings.Join(ids, ", ")
}
