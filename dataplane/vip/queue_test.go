package vip

type eventKind uint8

const (
	evMessage eventKind = iota
	evWake
	evView
	evDo
)

type simEvent struct {
	at   int64
	n    uint64 // order of events at one time
	kind eventKind
	node int
	life int // of the node; an event of another life is void
	data []byte
	from int
	do   func()
}

func (w *world) push(e simEvent) {
	w.count++
	e.n = w.count
	w.queue = append(w.queue, e)
	for i := len(w.queue) - 1; i > 0; {
		p := (i - 1) / 2
		if !w.before(i, p) {
			break
		}
		w.queue[i], w.queue[p] = w.queue[p], w.queue[i]
		i = p
	}
}

func (w *world) before(i, j int) bool {
	a, b := &w.queue[i], &w.queue[j]
	return a.at < b.at || a.at == b.at && a.n < b.n
}

func (w *world) pop() simEvent {
	e := w.queue[0]
	last := len(w.queue) - 1
	w.queue[0] = w.queue[last]
	w.queue[last] = simEvent{}
	w.queue = w.queue[:last]
	for i := 0; ; {
		k := 2*i + 1
		if k >= last {
			break
		}
		if k+1 < last && w.before(k+1, k) {
			k++
		}
		if !w.before(k, i) {
			break
		}
		w.queue[i], w.queue[k] = w.queue[k], w.queue[i]
		i = k
	}
	return e
}
