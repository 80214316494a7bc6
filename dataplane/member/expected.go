package member

// List is the list of expected members: who counts, whether it is there or not.
type List struct {
	Lineage, Revision uint64
	IDs               []string // sorted
}

// Follows says whether a node that goes by l may go by next: within a lineage it
// goes forward only.
func (l List) Follows(next List) bool {
	return next.Revision != 0 && (next.Lineage != l.Lineage || next.Revision > l.Revision)
}

// Decision is what people decided about a node last.
type Decision struct {
	// Number grows with each decision about the node; 0: none is known.
	Number               uint64
	Drained, NotExpected bool
}
