//go:build linux

package evloop

import (
	"sync/atomic"

	"github.com/proxyfleet/proxyfleet/dataplane/poll"
)

// mailboxSize bounds what waits for a loop. A full box refuses: a connection
// then stays where it is, of a hint it is noted that there was one, a change waits.
const mailboxSize = 1024

// mailbox is how others reach a loop. Any goroutine may put something in; the loop takes
// it out.
type mailbox struct {
	box    chan mail    // immutable
	poller *poll.Poller // immutable; of the loop, to be woken
	missed atomic.Bool  // a hint found the box full
}

func newMailbox(p *poll.Poller) mailbox {
	return mailbox{box: make(chan mail, mailboxSize), poller: p}
}

// post puts mail into the box and wakes the loop. False: the box is full.
func (b *mailbox) post(letter mail) bool {
	select {
	case b.box <- letter:
		b.poller.Wake()
		return true
	default:
		return false
	}
}

// hint is post for mail that may be lost: the loop then looks for itself at all that a
// hint may be about.
func (b *mailbox) hint(letter mail) {
	if !b.post(letter) {
		b.missed.Store(true)
		b.poller.Wake()
	}
}
