package hpack

import (
	"bytes"
	"encoding/binary"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// Problem says what is wrong with a block. After one, the tables of both sides
// differ and the connection must end (RFC 9113 section 4.3).
type Problem uint8

// The problems, with the section of RFC 7541.
const (
	NoProblem     Problem = iota
	Truncated             // 3.2: the block ends within a representation
	BadIndex              // 2.3.3: 0, or beyond the tables
	BadInteger            // 5.1: larger than any that this decoder takes
	BadHuffman            // 5.2
	BadSizeUpdate         // 4.2, 6.3: not at the beginning of a block, or beyond what we allow
	TooMuch               // 7.3: what is skipped goes into the table more than its caller takes

	problemEnd
)

var problemNames = [problemEnd]string{"none", "truncated", "bad_index", "bad_integer", "bad_huffman", "bad_size_update", "too_much"}

// String returns the problem in snake_case.
func (p Problem) String() string {
	if p >= problemEnd {
		return "unknown"
	}
	return problemNames[p]
}

// DefaultTableSize is the size of a dynamic table before anybody says another
// (RFC 9113 section 6.5.2).
const DefaultTableSize = 4096

// Decoder decodes the field blocks of one direction of one connection, in their
// order. The zero value is not ready: call Init.
type Decoder struct {
	table   table
	allowed uint32 // the peer may ask for a table up to this
}

// Init makes d ready for the first block. allowed is the table size that our
// SETTINGS announced.
func (d *Decoder) Init(allowed uint32) {
	*d = Decoder{allowed: allowed}
	d.table.max = min(allowed, DefaultTableSize)
}

// maxSizeUpdates is how many size updates a block may begin with: the smallest size
// since the block before, and the last (RFC 7541 section 4.2).
const maxSizeUpdates = 2

// Start begins a block: it takes the size updates that may stand there, and
// returns the fields.
func (d *Decoder) Start(block []byte) (fields []byte, problem Problem) {
	for n := 0; len(block) > 0 && block[0]&0xe0 == 0x20; n++ {
		if n == maxSizeUpdates {
			return nil, BadSizeUpdate
		}
		size, rest, problem := integer(block, 5)
		if problem != NoProblem {
			return nil, problem
		}
		if size > d.allowed {
			return nil, BadSizeUpdate
		}
		d.table.resize(size)
		block = rest
	}
	return block, NoProblem
}

// Field decodes the field that fields begins with, which must not be empty, and
// appends its bytes to arena: f has spans of it.
func (d *Decoder) Field(fields, arena []byte) (f message.Field, rest, grown []byte, problem Problem) {
	first := fields[0]
	switch {
	case first&0x80 != 0:
		index, rest, problem := integer(fields, 7)
		if problem != NoProblem {
			return f, nil, arena, problem
		}
		f, arena, problem = d.indexed(index, arena)
		return f, rest, arena, problem
	case first&0x40 != 0:
		f, rest, arena, problem = d.literal(fields, 6, arena)
		if problem == NoProblem {
			d.table.add(arena[f.Name.Start:f.Name.End], arena[f.Value.Start:f.Value.End], f.ID)
		}
		return f, rest, arena, problem
	case first&0x20 != 0:
		return f, nil, arena, BadSizeUpdate
	}
	f, rest, arena, problem = d.literal(fields, 4, arena)
	f.Sensitive = first&0x10 != 0
	return f, rest, arena, problem
}

// Skip decodes a block's remaining fields for the sake of the table alone, when
// nobody wants them any more. Strings that do not go into the table are not
// looked at, so the cost is that of the bytes that came, whatever they stand for.
// Two bytes may put 4,000 into the table, by the name of an entry: where more than most
// bytes go there beyond those that came, the problem is TooMuch.
func (d *Decoder) Skip(fields, scratch []byte, most int) (grown []byte, problem Problem) {
	for len(fields) > 0 && problem == NoProblem {
		if n := d.shortIndexes(fields); n > 0 {
			fields = fields[n:]
			continue
		}
		switch first := fields[0]; {
		case first&0x80 != 0:
			var index uint32
			if index, fields, problem = integer(fields, 7); problem == NoProblem && !d.has(index) {
				problem = BadIndex
			}
		case first&0x40 != 0:
			came := len(fields)
			_, fields, scratch, problem = d.Field(fields, scratch[:0])
			if most -= len(scratch) - (came - len(fields)); most < 0 && problem == NoProblem {
				problem = TooMuch
			}
		case first&0x20 != 0:
			problem = BadSizeUpdate
		default:
			fields, problem = d.skipLiteral(fields)
		}
	}
	return scratch, problem
}

// shortIndexes is how many bytes at the beginning of fields are whole fields by an
// index of one byte. A head that is a bomb has thousands of them.
func (d *Decoder) shortIndexes(fields []byte) int {
	end := min(staticEnd+d.table.count, 0x7f) // 0x7f is followed by the rest of an index
	i := 0
	for beyond := ones * uint64(0x80-end); i+32 <= len(fields); i += 32 {
		p := fields[i : i+32]
		if (others(binary.LittleEndian.Uint64(p), beyond)|others(binary.LittleEndian.Uint64(p[8:]), beyond)|
			others(binary.LittleEndian.Uint64(p[16:]), beyond)|others(binary.LittleEndian.Uint64(p[24:]), beyond))&highs != 0 {
			break
		}
	}
	for ; i < len(fields); i++ {
		if index := uint32(fields[i] & 0x7f); fields[i] < 0x80 || index == 0 || index >= end {
			break
		}
	}
	return i
}

// others has the highest bit of each of eight bytes that is no index: that has not its
// own, or whose others are 0, or end or more; beyond is what makes that overflow.
func others(w, beyond uint64) uint64 {
	index := w &^ highs
	return ^w | ^(index + ones*0x7f) | (index + beyond)
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// Ahead tells how large fields are when they are decoded, as RFC 9113 section 6.5.2
// counts, and how many, as far as that can be told without decoding them: up to the
// first that goes into the table, since indexes mean something else behind it, or
// that is wrong. Strings in Huffman code count as the least that they may stand for. Fields of
// Cookie are not counted: clients make many of one (RFC 9113 section 8.2.3).
// It looks no further when it has counted more than most bytes or count fields.
func (d *Decoder) Ahead(fields []byte, most, count int) (size, found int) {
	for len(fields) > 0 && size <= most && found <= count {
		first := fields[0]
		var index uint32
		var problem Problem
		name, value, cookie := 0, 0, false
		switch {
		case first&0x80 != 0:
			index, fields, problem = integer(fields, 7)
			name, value = d.lengths(index)
			cookie = d.isCookie(index)
		case first&0xe0 != 0:
			return size, found
		default:
			index, fields, problem = integer(fields, 4)
			if name, _ = d.lengths(index); problem == NoProblem && index == 0 {
				cookie = bytes.HasPrefix(fields, plainCookie) || bytes.HasPrefix(fields, codedCookie)
				name, fields, problem = leastString(fields)
			} else {
				cookie = d.isCookie(index)
			}
			if problem == NoProblem {
				value, fields, problem = leastString(fields)
			}
		}
		if problem != NoProblem {
			return size, found
		}
		size += name + value + entryOverhead
		if !cookie {
			found++
		}
	}
	return size, found
}

// plainCookie and codedCookie are the name of Cookie where it is no index, the second in Huffman
// code.
var plainCookie, codedCookie = []byte("\x06cookie"), []byte("\x84\x21\xcf\xd4\xc5")

// isCookie says whether an entry is a Cookie.
func (d *Decoder) isCookie(index uint32) bool {
	if index < staticEnd {
		return index == staticCookie
	}
	e := d.table.at(index - staticEnd + 1)
	return e != nil && e.id == message.FieldCookie
}

// lengths are those of an entry's name and value; of none, 0.
func (d *Decoder) lengths(index uint32) (name, value int) {
	if index < staticEnd {
		return len(staticTable[index].name), len(staticTable[index].value)
	}
	if e := d.table.at(index - staticEnd + 1); e != nil {
		return int(e.name), int(e.value)
	}
	return 0, 0
}

// leastString cuts a string literal off p, and tells the least that it stands for.
func leastString(p []byte) (least int, rest []byte, problem Problem) {
	coded, huffman, rest, problem := stringLiteral(p)
	if least = len(coded); huffman {
		least = max(0, 8*least-7) / longest // up to 7 bits are padding
	}
	return least, rest, problem
}

func (d *Decoder) skipLiteral(p []byte) (rest []byte, problem Problem) {
	index, rest, problem := integer(p, 4)
	if problem != NoProblem {
		return nil, problem
	}
	if index == 0 {
		if _, _, rest, problem = stringLiteral(rest); problem != NoProblem {
			return nil, problem
		}
	} else if !d.has(index) {
		return nil, BadIndex
	}
	_, _, rest, problem = stringLiteral(rest)
	return rest, problem
}

// has tells whether an index names an entry.
func (d *Decoder) has(index uint32) bool {
	return index > 0 && index < staticEnd+d.table.count
}

// indexed appends a whole entry (RFC 7541 section 6.1).
func (d *Decoder) indexed(index uint32, arena []byte) (f message.Field, grown []byte, problem Problem) {
	f, arena, problem = d.nameAt(index, arena)
	if problem != NoProblem {
		return f, arena, problem
	}
	f.Value.Start = uint32(len(arena))
	if index < staticEnd {
		arena = append(arena, staticTable[index].value...)
	} else {
		arena = append(arena, d.table.valueOf(d.table.at(index-staticEnd+1))...)
	}
	f.Value.End = uint32(len(arena))
	return f, arena, NoProblem
}

// nameAt appends the name of an entry.
func (d *Decoder) nameAt(index uint32, arena []byte) (f message.Field, grown []byte, problem Problem) {
	f.Name.Start = uint32(len(arena))
	if index < staticEnd {
		if index == 0 {
			return f, arena, BadIndex
		}
		f.ID = staticIDs[index]
		arena = append(arena, staticTable[index].name...)
	} else {
		e := d.table.at(index - staticEnd + 1)
		if e == nil {
			return f, arena, BadIndex
		}
		f.ID = e.id
		arena = append(arena, d.table.nameOf(e)...)
	}
	f.Name.End = uint32(len(arena))
	return f, arena, NoProblem
}

// literal reads a literal field (RFC 7541 section 6.2) whose index of a name has
// the given prefix.
func (d *Decoder) literal(p []byte, prefix uint, arena []byte) (f message.Field, rest, grown []byte, problem Problem) {
	index, rest, problem := integer(p, prefix)
	if problem != NoProblem {
		return f, nil, arena, problem
	}
	if index > 0 {
		f, arena, problem = d.nameAt(index, arena)
	} else {
		f.Name, rest, arena, problem = appendString(rest, arena)
		if problem == NoProblem {
			f.ID = message.LookupField(arena[f.Name.Start:f.Name.End])
		}
	}
	if problem != NoProblem {
		return f, nil, arena, problem
	}
	f.Value, rest, arena, problem = appendString(rest, arena)
	return f, rest, arena, problem
}

// appendString reads a string literal and appends what it says.
func appendString(p, arena []byte) (s message.Span, rest, grown []byte, problem Problem) {
	coded, huffman, rest, problem := stringLiteral(p)
	if problem != NoProblem {
		return s, nil, arena, problem
	}
	s.Start = uint32(len(arena))
	if huffman {
		var ok bool
		if arena, ok = appendHuffman(arena, coded); !ok {
			return s, nil, arena, BadHuffman
		}
	} else {
		arena = append(arena, coded...)
	}
	s.End = uint32(len(arena))
	return s, rest, arena, NoProblem
}

// stringLiteral cuts a string literal off p (RFC 7541 section 5.2).
func stringLiteral(p []byte) (coded []byte, huffman bool, rest []byte, problem Problem) {
	if len(p) == 0 {
		return nil, false, nil, Truncated
	}
	huffman = p[0]&0x80 != 0
	n, rest, problem := integer(p, 7)
	if problem != NoProblem {
		return nil, false, nil, problem
	}
	if uint64(n) > uint64(len(rest)) {
		return nil, false, nil, Truncated
	}
	return rest[:n], huffman, rest[n:], NoProblem
}

// maxContinuation bounds the bytes of an integer behind its first: 28 bits are
// more than any index, length or size that is accepted.
const maxContinuation = 4

// integer cuts an integer with a prefix of so many bits off p, which must not be
// empty (RFC 7541 section 5.1).
func integer(p []byte, prefix uint) (v uint32, rest []byte, problem Problem) {
	most := uint32(1)<<prefix - 1
	if v = uint32(p[0]) & most; v < most {
		return v, p[1:], NoProblem
	}
	for i := 1; i <= maxContinuation; i++ {
		if i == len(p) {
			return 0, nil, Truncated
		}
		v += uint32(p[i]&0x7f) << (7 * (i - 1))
		if p[i] < 0x80 {
			return v, p[i+1:], NoProblem
		}
	}
	return 0, nil, BadInteger
}
