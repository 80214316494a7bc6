package resource

import (
	"regexp"
	"strconv"
	"strings"
)

// node is a value of a document, whether it was written as YAML or as JSON.
type node struct {
	kind    nodeKind
	text    string  // of a scalar
	line    int32   // 1-based line of the input on which it starts
	entries []entry // of a mapping or a list
}

// entry is a pair of a mapping, or an element of a list.
type entry struct {
	key   string
	line  int32 // where the key stands; of an element, where it starts
	value node
}

// nodeKind tells values apart as YAML 1.2's core schema does (section 10.3.2).
type nodeKind uint8

const (
	nodeNull nodeKind = iota
	nodeBool
	nodeInt
	nodeFloat
	nodeString // a plain scalar that is nothing else
	nodeQuoted // a string in quotes, or a block scalar
	nodeMapping
	nodeList
	// nodeRefused is YAML that resources must not use. The text says what stands
	// there and what to write.
	nodeRefused
)

// intShape, hexShape and floatShape are YAML 1.2's numbers. A leading zero is
// left out: YAML 1.1 reads such a number as octal, so it is no number here.
var (
	intShape   = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	hexShape   = regexp.MustCompile(`^0(o[0-7]+|x[0-9a-fA-F]+)$`)
	floatShape = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
)

// plainKind says what a scalar without quotes is.
func plainKind(s string) nodeKind {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return nodeNull
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return nodeBool
	case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN":
		return nodeFloat
	}
	if c := s[0]; !isDigit(c) && c != '-' && c != '+' && c != '.' {
		return nodeString
	}
	switch {
	case intShape.MatchString(s), hexShape.MatchString(s):
		return nodeInt
	case floatShape.MatchString(s) && !leadingZero(s):
		return nodeFloat
	}
	return nodeString
}

// leadingZero is true for whole numbers such as 007.
func leadingZero(s string) bool {
	s = strings.TrimLeft(s, "-+")
	return len(s) > 1 && s[0] == '0' && onlyBytes(s, isDigit)
}

// inQuotes is what was meant where only the quotes are missing, or "".
func (n *node) inQuotes() string {
	if meant, ok := strings.CutSuffix(n.text, withoutQuotes); ok && n.kind == nodeRefused {
		return quote(meant)
	}
	return ""
}

func (n *node) isString() bool { return n.kind == nodeString || n.kind == nodeQuoted }

// describe says what n is, for the got of a problem.
func (n *node) describe() string {
	switch n.kind {
	case nodeNull:
		return "nothing"
	case nodeQuoted:
		return quote(n.text)
	case nodeMapping:
		return "a mapping"
	case nodeList:
		if len(n.entries) == 0 {
			return "an empty list"
		}
		return "a list"
	case nodeRefused:
		return n.text
	default:
		return clip(n.text)
	}
}

// quote is s in quotes, shortened.
func quote(s string) string { return strconv.Quote(clip(s)) }

// find is the value of a key of a mapping; nil if it is not there.
func (n *node) find(key string) *entry {
	if n == nil || n.kind != nodeMapping {
		return nil
	}
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// lineOf follows a path of steps as far as it goes; start is the line of n.
func (n *node) lineOf(steps path, start int) int {
	line := start
	for _, s := range steps {
		var e *entry
		switch {
		case s.key != "":
			e = n.find(s.key)
		case n.kind == nodeList && s.index < len(n.entries):
			e = &n.entries[s.index]
		}
		if e == nil {
			break
		}
		line, n = int(e.line), &e.value
	}
	return line
}

// path leads from a document to a value.
type path []step

// step is a key of a mapping or, if key is "", an index of a list.
type step struct {
	key   string
	index int
}

// String is the path as problems show it: spec.endpoints[0].address, and
// spec.match["odd key"] for keys that would read badly.
func (p path) String() string {
	b := make([]byte, 0, 64)
	for _, s := range p {
		switch {
		case s.key == "":
			b = append(b, '[')
			b = strconv.AppendInt(b, int64(s.index), 10)
			b = append(b, ']')
		case !plainStep(s.key):
			b = append(b, '[')
			if holdsKey(s.key) {
				s.key = clip(s.key)
			}
			b = strconv.AppendQuote(b, s.key)
			b = append(b, ']')
		default:
			if len(b) > 0 {
				b = append(b, '.')
			}
			b = append(b, s.key...)
		}
	}
	return string(b)
}

func plainStep(key string) bool {
	return len(key) <= maxGot && onlyBytes(key, func(c byte) bool { return isAlnum(c) || c == '-' || c == '_' })
}

// parsePath reads what path.String writes. What it does not understand ends it.
func parsePath(s string) path {
	var p path
	for s != "" {
		if s[0] != '[' {
			s = strings.TrimPrefix(s, ".")
			end := strings.IndexAny(s, ".[")
			if end < 0 {
				end = len(s)
			}
			if end == 0 {
				return p
			}
			p, s = append(p, step{key: s[:end]}), s[end:]
			continue
		}
		if quoted, err := strconv.QuotedPrefix(s[1:]); err == nil {
			key, err := strconv.Unquote(quoted)
			rest, closed := strings.CutPrefix(s[1+len(quoted):], "]")
			if err != nil || !closed {
				return p
			}
			p, s = append(p, step{key: key}), rest
			continue
		}
		number, rest, closed := strings.Cut(s[1:], "]")
		i, err := strconv.Atoi(number)
		if err != nil || !closed || i < 0 {
			return p
		}
		p, s = append(p, step{index: i}), rest
	}
	return p
}
