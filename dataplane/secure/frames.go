package secure

// recordHead is the size of a record's head: type, version, length (RFC 8446
// section 5.1).
const recordHead = 5

// frames counts the records that were fed. crypto/tls is asked for more until it
// says that it has none, which costs about what a record does; where the number
// of records tells that it has none, the question is saved.
type frames struct {
	whole int // since reset
	left  int // bytes of the record at hand that are to come
	head  [recordHead]byte
	have  int // bytes of head
}

func (f *frames) feed(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, len(p))
			f.left -= n
			p = p[n:]
		} else {
			n := copy(f.head[f.have:], p)
			f.have += n
			p = p[n:]
			if f.have < recordHead {
				return
			}
			f.have = 0
			f.left = int(f.head[3])<<8 | int(f.head[4])
		}
		if f.left == 0 {
			f.whole++
		}
	}
}

// between says that what was fed ends with a record.
func (f *frames) between() bool { return f.left == 0 && f.have == 0 }
