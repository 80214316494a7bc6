package loadgen

// ring is a bounded queue.
type ring[T comparable] struct {
	items []T
	first int
	n     int
}

func newRing[T comparable](capacity int) ring[T] { return ring[T]{items: make([]T, capacity)} }

func (r *ring[T]) len() int { return r.n }

// push needs room: callers hold no more than the capacity.
func (r *ring[T]) push(item T) {
	r.items[(r.first+r.n)%len(r.items)] = item
	r.n++
}

// pop needs an item.
func (r *ring[T]) pop() T {
	item := r.items[r.first]
	r.first = (r.first + 1) % len(r.items)
	r.n--
	return item
}

// remove takes an item out, if it is there, and keeps the order of the others.
func (r *ring[T]) remove(item T) {
	for range r.n {
		if got := r.pop(); got != item {
			r.push(got)
		}
	}
}
