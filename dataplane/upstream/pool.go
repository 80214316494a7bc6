package upstream

// ID is the number by which the driver knows a connection or a stream.
type ID uint32

// maxWaiting bounds the streams of one loop that wait for a connection to one
// endpoint: as many as the default number of connections. More get 503.
const maxWaiting = 1024

// Pool is what one loop has of one endpoint: the idle connections, newest last,
// and the streams that wait because the endpoint has all the connections it may
// have.
type Pool struct {
	endpoint *Endpoint

	// owned by the loop
	idle    []ID
	waiting []ID
	open    int
	part    int  // the connections that it has a right to before others have more
	short   bool // streams wait, and it has fewer than that
}

// NewPool makes the pool of one loop for an endpoint.
func NewPool(e *Endpoint) *Pool { return &Pool{endpoint: e, part: 1} }

// SetPart says how many connections the pool has a right to while its streams wait.
// Parts of all loops together are what the node may have, or one each.
func (p *Pool) SetPart(part int) {
	p.part = part
	p.settle()
}

// settle notes whether the pool is short; it is called with each change.
func (p *Pool) settle() {
	short := len(p.waiting) > 0 && p.open < p.part
	if short == p.short {
		return
	}
	if p.short = short; short {
		p.endpoint.short.Add(1)
	} else {
		p.endpoint.short.Add(-1)
	}
}

// Short says that its streams wait, and that it has fewer connections than its part.
func (p *Pool) Short() bool { return p.short }

// OthersShort is how many pools of other loops have streams that wait, and fewer
// connections than their part.
func (p *Pool) OthersShort() int {
	n := int(p.endpoint.short.Load())
	if p.short {
		n--
	}
	return n
}

// Part is how many connections the pool has a right to.
func (p *Pool) Part() int { return p.part }

// Endpoint is the node-wide state.
func (p *Pool) Endpoint() *Endpoint { return p.endpoint }

// Open is the number of this loop's connections, idle or busy.
func (p *Pool) Open() int { return p.open }

// Idle is the number of idle connections.
func (p *Pool) Idle() int { return len(p.idle) }

// Queued is the number of this loop's streams that wait.
func (p *Pool) Queued() int { return len(p.waiting) }

// TakeIdle takes the connection that was used last: the one whose caches are
// warm and that its peer is least likely to have closed.
func (p *Pool) TakeIdle() (ID, bool) {
	last := len(p.idle) - 1
	if last < 0 {
		return 0, false
	}
	id := p.idle[last]
	p.idle = p.idle[:last]
	return id, true
}

// TryOpen counts a connection that is about to be opened, unless the node has
// max of them already. Closed takes it back.
func (p *Pool) TryOpen(maxConnections int) bool {
	for {
		n := p.endpoint.connections.Load()
		if int(n) >= maxConnections {
			return false
		}
		if p.endpoint.connections.CompareAndSwap(n, n+1) {
			p.open++
			p.settle()
			return true
		}
	}
}

// Closed counts the end of a connection that is not idle.
func (p *Pool) Closed() {
	p.open--
	p.settle()
	p.endpoint.connections.Add(-1)
}

// Put makes a connection idle. False: the pool has maxIdle already, and the
// caller closes it.
func (p *Pool) Put(id ID, maxIdle int) bool {
	if len(p.idle) >= maxIdle {
		return false
	}
	p.idle = append(p.idle, id)
	return true
}

// RemoveIdle takes a certain connection out, because it timed out or its peer
// closed it. Old ones stand first, and they are the ones that leave this way.
func (p *Pool) RemoveIdle(id ID) bool {
	for i, other := range p.idle {
		if other == id {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return true
		}
	}
	return false
}

// Wait queues a stream. False: too many wait already.
func (p *Pool) Wait(stream ID) bool {
	if len(p.waiting) >= maxWaiting {
		return false
	}
	p.waiting = append(p.waiting, stream)
	p.settle()
	p.endpoint.waiting.Add(1)
	return true
}

// WaitFirst is Wait for a stream whose turn had come: it has waited longest.
func (p *Pool) WaitFirst(stream ID) bool {
	if !p.Wait(stream) {
		return false
	}
	copy(p.waiting[1:], p.waiting)
	p.waiting[0] = stream
	return true
}

// NextWaiting takes the stream that has waited longest.
func (p *Pool) NextWaiting() (ID, bool) {
	if len(p.waiting) == 0 {
		return 0, false
	}
	id := p.waiting[0]
	copy(p.waiting, p.waiting[1:])
	p.waiting = p.waiting[:len(p.waiting)-1]
	p.settle()
	p.endpoint.waiting.Add(-1)
	return id, true
}

// FirstWaiting is the stream that NextWaiting would take.
func (p *Pool) FirstWaiting() (ID, bool) {
	if len(p.waiting) == 0 {
		return 0, false
	}
	return p.waiting[0], true
}

// Leave takes a stream out of the queue, because it timed out or its client
// left.
func (p *Pool) Leave(stream ID) bool {
	for i, other := range p.waiting {
		if other == stream {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			p.settle()
			p.endpoint.waiting.Add(-1)
			return true
		}
	}
	return false
}
