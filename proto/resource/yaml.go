package resource

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parseYAML reads one document. Anchors, aliases, tags, directives and merge
// keys become nodes of kind nodeRefused: they can make a small text large, and
// hide from a reader what a resource holds.
func parseYAML(text string, firstLine int) (root node, err error) {
	defer func() {
		// The parser is not ours, and what it reads is a peer's.
		if recover() != nil {
			err = badSyntax(firstLine, "the YAML parser gives up")
		}
	}()
	if line := tooManyBlankLines(text); line > 0 {
		return node{}, excessBlankLines.problem(firstLine + line - 1)
	}
	if line := tooManyElements(text); line > 0 {
		return node{}, excessElements.problem(firstLine + line - 1)
	}
	tokens := wholeElements(lexer.Tokenize(text))
	if line, e := checkShape(tokens); e != noExcess {
		return node{}, e.problem(firstLine + line - 1)
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return node{}, yamlSyntax(err, text, firstLine)
	}
	y := yamlReader{offset: firstLine - 1}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return node{}, badSyntax(firstLine, "no value")
	}
	root = y.node(file.Docs[0].Body)
	return root, nil
}

// wholeElements joins what the lexer cuts in two: in a list within braces it takes each
// colon for that of a key, where YAML wants a space behind that (YAML 1.2.2 section 7.3.3).
// So {clientCIDRs: [::1/128]} and {targets: [db.test:5432]} were no lists of texts.
func wholeElements(tokens token.Tokens) token.Tokens {
	var joined token.Tokens // nil while there is nothing to join
	var open []token.Type
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, t.Type)
		case token.SequenceEndType, token.MappingEndType:
			open = open[:max(0, len(open)-1)]
		}
		if len(open) == 0 || open[len(open)-1] != token.SequenceStartType {
			joined = addTo(joined, t)
			continue
		}
		element, n := elementAt(tokens[i:])
		if n > 1 && joined == nil {
			joined = make(token.Tokens, 0, len(tokens))
			joined.Add(tokens[:i]...)
		}
		joined = addTo(joined, element)
		i += n - 1
	}
	if joined == nil {
		return tokens
	}
	return joined
}

// addTo adds a token to those that are joined, if any are.
func addTo(joined token.Tokens, t *token.Token) token.Tokens {
	if joined != nil {
		joined.Add(t)
	}
	return joined
}

// elementAt is the first token, or what it makes with a colon and a text that stand close
// behind it; n is how many tokens that is.
func elementAt(tokens token.Tokens) (t *token.Token, n int) {
	t = tokens[0]
	key, colon := token.String("", "", t.Position), 0
	if t.Type != token.MappingValueType { // else the text begins with its colon
		key, colon = t, 1
	}
	if len(tokens) < colon+2 || tokens[colon].Type != token.MappingValueType || !isPlainText(key) {
		return t, 1
	}
	value := tokens[colon+1]
	if !isPlainText(value) || !adjoins(key, tokens[colon]) || value.Position.Offset != tokens[colon].Position.Offset+1 {
		return t, 1
	}
	return token.String(key.Value+":"+value.Value, key.Origin+":"+value.Origin, key.Position), colon + 2
}

// isPlainText reports whether a token is a text without quotes.
func isPlainText(t *token.Token) bool {
	return t.Indicator == token.NotIndicator && t.CharacterType == token.CharacterTypeMiscellaneous && t.Position != nil
}

// adjoins reports whether nothing stands between a text and a colon.
func adjoins(t, colon *token.Token) bool {
	return t.Position.Offset+utf8.RuneCountInString(t.Value) == colon.Position.Offset
}

// yamlSyntax takes the place and the reason out of a parser's error.
func yamlSyntax(err error, text string, firstLine int) error {
	var se interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &se) || se.GetToken() == nil || se.GetToken().Position == nil {
		return badSyntax(firstLine, err.Error())
	}
	line := firstLine + se.GetToken().Position.Line - 1
	if strings.Contains(se.GetMessage(), `'	'`) || strings.Contains(se.GetMessage(), "'\t'") {
		return &textProblem{line: line, got: "a tab", expected: "spaces: YAML forbids tabs in indentation"}
	}
	there := lineAt(text, se.GetToken().Position.Line)
	if _, meant := withSpace(there); meant != "" {
		return &textProblem{line: line, got: closeKey(there), expected: meant}
	}
	bad := badSyntax(line, se.GetMessage())
	bad.expected += syntaxHint(bad.got)
	return bad
}

// yamlReader turns a syntax tree into nodes.
type yamlReader struct {
	offset int // lines of the input before the document
}

func (y *yamlReader) line(t *token.Token) int32 {
	if t == nil || t.Position == nil {
		return int32(y.offset + 1)
	}
	return int32(y.offset + t.Position.Line)
}

func (y *yamlReader) node(n ast.Node) node {
	switch n := n.(type) {
	case nil:
		return node{kind: nodeNull, line: int32(y.offset + 1)}
	case *ast.StringNode:
		return y.scalar(n.Token, n.Value)
	case *ast.LiteralNode:
		text := ""
		if n.Value != nil {
			text = n.Value.Value
		}
		return node{kind: nodeQuoted, text: text, line: y.line(n.Start)}
	case *ast.MappingNode:
		return y.mapping(n.Start, n.Values)
	case *ast.MappingValueNode:
		return y.mapping(n.Start, []*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		return y.list(n)
	case *ast.NullNode:
		return node{kind: nodeNull, line: y.line(n.Token)}
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return y.scalar(n.GetToken(), n.GetToken().Value)
	case *ast.AnchorNode:
		return y.refused(n, "an anchor")
	case *ast.AliasNode:
		return y.alias(n)
	case *ast.TagNode:
		return y.refused(n, "a tag")
	case *ast.DirectiveNode:
		return y.refused(n, "a directive")
	default:
		return y.refused(n, fmt.Sprintf("YAML's %s", n.Type()))
	}
}

// alias is a name behind a *. Of a host one whose quotes were forgotten: everywhere else
// *.shop.test is written without.
func (y *yamlReader) alias(n *ast.AliasNode) node {
	name, ok := n.Value.(*ast.StringNode)
	if !ok || !strings.HasPrefix(name.Value, ".") || len(name.Value) > maxGot {
		return y.refused(n, "an alias")
	}
	return y.refused(n, "*"+name.Value+withoutQuotes)
}

// withoutQuotes is what is told of a wildcard host that YAML takes for an alias.
const withoutQuotes = " without quotes, which YAML takes for an alias"

func (y *yamlReader) refused(n ast.Node, what string) node {
	return node{kind: nodeRefused, text: what, line: y.line(n.GetToken())}
}

func (y *yamlReader) scalar(t *token.Token, text string) node {
	kind := nodeQuoted
	if t == nil || t.Type != token.SingleQuoteType && t.Type != token.DoubleQuoteType {
		kind = plainKind(text)
	}
	return node{kind: kind, text: text, line: y.line(t)}
}

func (y *yamlReader) mapping(start *token.Token, values []*ast.MappingValueNode) node {
	m := node{kind: nodeMapping, line: y.line(start), entries: make([]entry, 0, len(values))}
	for _, v := range values {
		m.entries = append(m.entries, y.pair(v))
	}
	if len(m.entries) > 0 {
		m.line = min(m.line, m.entries[0].line)
	}
	return m
}

func (y *yamlReader) pair(v *ast.MappingValueNode) entry {
	switch k := v.Key.(type) {
	case *ast.StringNode:
		return entry{key: k.Value, line: y.line(k.Token), value: y.node(v.Value)}
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return entry{key: k.GetToken().Value, line: y.line(k.GetToken()), value: y.node(v.Value)}
	case *ast.MergeKeyNode:
		return entry{key: "<<", line: y.line(k.Token), value: y.refused(k, "a merge key")}
	default:
		return entry{key: "?", line: y.line(v.Start), value: node{kind: nodeRefused, text: "a key that is no string", line: y.line(v.Start)}}
	}
}

func (y *yamlReader) list(s *ast.SequenceNode) node {
	l := node{kind: nodeList, line: y.line(s.Start), entries: make([]entry, 0, len(s.Values))}
	for _, v := range s.Values {
		n := y.node(v)
		l.entries = append(l.entries, entry{line: n.line, value: n})
	}
	return l
}
