package resource

import (
	"strings"

	"github.com/goccy/go-yaml/token"
)

// The YAML parser takes time that grows with the square of some numbers, and
// recurses for each key of a block mapping. Documents in which these numbers are
// large are refused before it sees them. No resource comes near: labels are
// bounded, and what may be long is a list.
const (
	// maxKeys bounds the keys of one block mapping. 40,000 took 10 s.
	maxKeys = 1000
	// maxNulls bounds the keys and elements without a value. 500,000 took 230 s.
	maxNulls = 250
	// maxBlankLines bounds the blank lines. 200,000 in a block scalar took 142 s.
	maxBlankLines = 5000
)

// maxElements bounds the commas that tell elements and keys apart. Each costs some
// microseconds to read, and 1 MiB may hold half a million; 256 KiB of canonical bytes, as
// many as a resource may have, hold no more than some 80,000.
const maxElements = 100_000

// tooManyElements finds the line of a text of YAML on which one comma too many stands,
// wherever that is.
func tooManyElements(text string) int {
	if strings.Count(text, ",") <= maxElements {
		return 0
	}
	commas, line := 0, 0
	for l := range strings.Lines(text) {
		line++
		if commas += strings.Count(l, ","); commas > maxElements {
			break
		}
	}
	return line
}

// tooManyBlankLines finds the line on which a text has one blank line too many.
func tooManyBlankLines(text string) int {
	line, blank := 0, 0
	for l := range strings.Lines(text) {
		line++
		if strings.TrimLeft(l, " \t\n") == "" {
			if blank++; blank > maxBlankLines {
				return line
			}
		}
	}
	return 0
}

// shape follows the tokens of a document through its open collections.
type shape struct {
	flow  []flowLevel
	block []blockLevel
	line  int // of the last token
	nulls int
}

// flowLevel is an open [ or {.
type flowLevel struct {
	mapping        bool
	commas, values int
}

// blockLevel is a column at which a block collection, or a value, stands.
type blockLevel struct {
	column, keys int
}

// checkShape finds the first token at which a document becomes deeper than
// maxDepth or gets too many keys. It may count more than there are, never less.
func checkShape(tokens token.Tokens) (line int, e excess) {
	var s shape
	for i, t := range tokens {
		if t.Position == nil || t.Type == token.CommentType {
			continue
		}
		if e := s.next(tokens, i); e != noExcess {
			return t.Position.Line, e
		}
	}
	return 0, noExcess
}

func (s *shape) next(tokens token.Tokens, i int) excess {
	t := tokens[i]
	opens := t.Position.Line != s.line || t.Type == token.SequenceEntryType
	s.line = t.Position.Line
	if len(s.flow) == 0 && opens {
		s.open(t.Position.Column)
	}
	switch t.Type {
	case token.MappingStartType, token.SequenceStartType:
		s.flow = append(s.flow, flowLevel{mapping: t.Type == token.MappingStartType})
	case token.MappingEndType, token.SequenceEndType:
		if n := len(s.flow); n > 0 {
			if top := s.flow[n-1]; top.mapping {
				s.nulls += max(0, top.commas+1-top.values)
			}
			s.flow = s.flow[:n-1]
		}
	case token.CollectEntryType:
		if n := len(s.flow); n > 0 {
			s.flow[n-1].commas++
			if top := s.flow[n-1]; top.mapping && top.commas-top.values > maxNulls {
				return excessNulls
			}
		}
	case token.SequenceEntryType:
		if next := after(tokens, i); next == nil || next.Position.Line != s.line && next.Position.Column <= t.Position.Column {
			s.nulls++
		}
	case token.MappingKeyType:
		return excessKeyStyle
	case token.MappingValueType:
		if s.key(tokens, i) > maxKeys {
			return excessKeys
		}
	}
	switch {
	case len(s.flow)+len(s.block) > maxDepth:
		return excessDepth
	case s.nulls > maxNulls:
		return excessNulls
	}
	return noExcess
}

// open notes that something begins at a column.
func (s *shape) open(column int) {
	for len(s.block) > 0 && s.block[len(s.block)-1].column > column {
		s.block = s.block[:len(s.block)-1]
	}
	if len(s.block) == 0 || s.block[len(s.block)-1].column < column {
		s.block = append(s.block, blockLevel{column: column})
	}
}

// after is the next token that the parser will see.
func after(tokens token.Tokens, i int) *token.Token {
	for _, t := range tokens[i+1:] {
		if t.Position != nil && t.Type != token.CommentType {
			return t
		}
	}
	return nil
}

// key counts the key before a colon, and whether a value follows. It returns how
// many keys its block mapping has; 0 in a flow collection.
func (s *shape) key(tokens token.Tokens, i int) int {
	next := after(tokens, i)
	if n := len(s.flow); n > 0 {
		s.flow[n-1].values++
		if next == nil || next.Type == token.CollectEntryType || next.Type == token.MappingEndType {
			s.nulls++
		}
		return 0
	}
	if i == 0 {
		return 0
	}
	column := tokens[i-1].Position.Column
	if next == nil || next.Position.Line != tokens[i].Position.Line &&
		(next.Position.Column < column || next.Position.Column == column && next.Type != token.SequenceEntryType) {
		s.nulls++
	}
	s.open(column)
	top := &s.block[len(s.block)-1]
	top.keys++
	return top.keys
}
