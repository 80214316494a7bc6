package hpack

import "github.com/proxyfleet/proxyfleet/dataplane/message"

// Opening is a size update to 0. An encoder without a dynamic table puts it in
// front of its first block: with that it keeps to any table size that the peer's
// SETTINGS may say, then and later (RFC 9113 section 4.3.1), and the peer may
// free its table.
const Opening = 0x20

// AppendIndexed appends a whole entry of the static table.
func AppendIndexed(dst []byte, index uint32) []byte {
	return append(dst, 0x80|byte(index))
}

// AppendNamed appends a field whose name is that of a static entry.
func AppendNamed(dst []byte, index uint32, value []byte) []byte {
	return appendLiteral(appendInteger(dst, 0, 4, index), value)
}

// AppendStatus appends ":status".
func AppendStatus(dst []byte, status uint16) []byte {
	if index := statusIndex(status); index != 0 {
		return AppendIndexed(dst, index)
	}
	return append(dst, IndexStatus, 3, '0'+byte(status/100), '0'+byte(status/10%10), '0'+byte(status%10))
}

// AppendField appends a field. Its name is written in lower case, whatever its
// spelling; id is that of the name. A sensitive field is marked so that no hop
// keeps it in a table (RFC 7541 section 6.2.3).
func AppendField(dst []byte, id message.FieldID, name, value []byte, sensitive bool) []byte {
	form := byte(0)
	if sensitive {
		form = 0x10
	}
	if index := staticNames[id]; index != 0 {
		return appendLiteral(appendInteger(dst, form, 4, uint32(index)), value)
	}
	dst = append(dst, form)
	dst = appendInteger(dst, 0, 7, uint32(len(name)))
	dst = message.AppendLower(dst, name)
	return appendLiteral(dst, value)
}

func appendLiteral(dst, s []byte) []byte {
	dst = appendInteger(dst, 0, 7, uint32(len(s)))
	return append(dst, s...)
}

// appendInteger appends v with a prefix of so many bits behind the bits of form
// (RFC 7541 section 5.1).
func appendInteger(dst []byte, form byte, prefix uint, v uint32) []byte {
	most := uint32(1)<<prefix - 1
	if v < most {
		return append(dst, form|byte(v))
	}
	dst = append(dst, form|byte(most))
	for v -= most; v >= 0x80; v >>= 7 {
		dst = append(dst, 0x80|byte(v))
	}
	return append(dst, byte(v))
}
