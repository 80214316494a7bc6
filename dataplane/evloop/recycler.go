//go:build linux

package evloop

// recyclers are those of one loop.
type recyclers struct {
	links recycler[link]
	downs recycler[downstream]
	ups   recycler[upstreamConn]
	subs  recycler[sub]
	calls recycler[call]
}

// turn makes what ended in this turn of the loop ready for the next. Links keep their
// numbers, subs and calls the memory of their trailers.
func (r *recyclers) turn() {
	r.downs.forget()
	r.ups.forget()
	r.links.turn()
	r.downs.turn()
	r.ups.turn()
	r.subs.turn()
	r.calls.turn()
}

// recycler keeps the memory of what has ended, to be used again. That is not before
// the next turn of the loop: callers up the stack, and events of this turn, may still
// look at what ended in it.
type recycler[T any] struct {
	free  []*T
	ended []*T // in this turn
}

// reuse gives what ended in an earlier turn; nil: there is nothing.
func (r *recycler[T]) reuse() *T {
	last := len(r.free) - 1
	if last < 0 {
		return nil
	}
	x := r.free[last]
	r.free = r.free[:last]
	return x
}

// take is reuse, or something new. What it had is for the caller to replace.
func (r *recycler[T]) take() *T {
	if x := r.reuse(); x != nil {
		return x
	}
	return new(T)
}

// give takes back what has ended.
func (r *recycler[T]) give(x *T) { r.ended = append(r.ended, x) }

// turn is called when the loop's turn ends.
func (r *recycler[T]) turn() {
	for i, x := range r.ended {
		r.free = append(r.free, x)
		r.ended[i] = nil
	}
	r.ended = r.ended[:0]
}

// forget drops what those that ended in this turn refer to.
func (r *recycler[T]) forget() {
	var nothing T
	for _, x := range r.ended {
		*x = nothing
	}
}
