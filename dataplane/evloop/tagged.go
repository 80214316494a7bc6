//go:build linux

package evloop

// tagged are the streams of one connection that speaks HTTP/2, subs or calls, by tag: the
// small number by which its codec knows them. Tags are given again.
type tagged[T any] struct {
	all  []*T // nil: the tag is free
	free []uint32
}

// add gives x a tag.
func (t *tagged[T]) add(x *T) (tag uint32) {
	if last := len(t.free) - 1; last >= 0 {
		tag = t.free[last]
		t.free = t.free[:last]
		t.all[tag] = x
		return tag
	}
	t.all = append(t.all, x)
	return uint32(len(t.all) - 1)
}

// drop frees a tag.
func (t *tagged[T]) drop(tag uint32) {
	t.all[tag] = nil
	t.free = append(t.free, tag)
}
