package member

import "strings"

// Kind says what became of a member between two Views.
type Kind uint8

const (
	// Joined says that it was not there before.
	Joined Kind = iota + 1
	// Left says that it is not there any more.
	Left
	// Restarted says that its process is another one.
	Restarted
	// Updated says that the same process says something else.
	Updated
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Joined:
		return "joined"
	case Left:
		return "left"
	case Restarted:
		return "restarted"
	case Updated:
		return "updated"
	}
	return "unknown"
}

// Change is what became of one member.
type Change struct {
	Kind Kind
	// Old is empty if the member joined, New if it left.
	Old, New Member
}

// ID is the id of the member that changed.
func (c Change) ID() string {
	if c.Kind == Left {
		return c.Old.ID
	}
	return c.New.ID
}

// Diff lists what makes next differ from old, in the order of ids. Equal Views
// have no differences.
func Diff(old, next View) []Change {
	if old.Same(next) {
		return nil
	}
	var changes []Change
	a, b := old.members, next.members
	for len(a) > 0 || len(b) > 0 {
		switch order(a, b) {
		case -1:
			changes = append(changes, Change{Kind: Left, Old: a[0]})
			a = a[1:]
		case 1:
			changes = append(changes, Change{Kind: Joined, New: b[0]})
			b = b[1:]
		default:
			switch {
			case a[0].Boot != b[0].Boot:
				changes = append(changes, Change{Kind: Restarted, Old: a[0], New: b[0]})
			case !a[0].Equal(b[0]):
				changes = append(changes, Change{Kind: Updated, Old: a[0], New: b[0]})
			}
			a, b = a[1:], b[1:]
		}
	}
	return changes
}

// order compares the first ids of two lists, one of which may be empty.
func order(a, b []Member) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return strings.Compare(a[0].ID, b[0].ID)
}
