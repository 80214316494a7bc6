package vip

// Kind says what a Message is.
type Kind uint8

const (
	// Request asks for grants, renews them and gives them back.
	Request Kind = iota + 1
	// Answer says what became of a Request.
	Answer
)

// Message is what nodes tell each other, one datagram each.
type Message struct {
	Kind Kind
	// From is the id of the sender.
	From string
	// Boot is that of the process that made the Request; an Answer repeats it.
	Boot uint64
	// Seq grows with each Request of a process; an Answer repeats it.
	Seq uint64
	// Revision is that of the sender's list.
	Revision uint64
	// Items are one for each virtual IP.
	Items []Item
}

// Op is what a Request wants.
type Op uint8

const (
	// Ask says that the sender wants to hold.
	Ask Op = iota + 1
	// AskReady says the same, and that nobody but the present holder stands in
	// the way.
	AskReady
	// Renew says that the sender holds.
	Renew
	// GaveUp says that the sender asked in vain. This and what follows gives back
	// grants.
	GaveUp
	// Yielded says that the sender asked and lets another go first.
	Yielded
	// Lost says that the sender held and has no majority any more.
	Lost
	// HandedOver says that the sender held and lets a candidate follow that is
	// ready.
	HandedOver
	// Conceded says that the sender held and found a holder of higher rank, or by a
	// newer list.
	Conceded
	// Resigned says that the sender held, or asked, and cannot now.
	Resigned
	lastOp = Resigned
)

// releases says whether op gives a grant back.
func (op Op) releases() bool { return op >= GaveUp }

// String returns the name in lower case, with underscores.
func (op Op) String() string {
	if op < Ask || op > lastOp {
		return "unknown"
	}
	return [...]string{"ask", "ask_ready", "renew", "gave_up", "yielded", "lost", "handed_over", "conceded", "resigned"}[op-Ask]
}

// Verdict is a member's answer.
type Verdict uint8

const (
	// Granted is for the sender of the request, for GrantFor from now.
	Granted Verdict = iota + 1
	// Taken says that another has it.
	Taken
	// Quiet says that the member started a moment ago and may have granted it to
	// another.
	Quiet
	// OtherList says that the member goes by another revision.
	OtherList
	// OldTerm says that a later tenure is known; ask again with a higher term.
	OldTerm
	// Full says that the member keeps no more virtual IPs.
	Full
	lastVerdict = Full
)

// String returns the name in lower case, with underscores.
func (v Verdict) String() string {
	if v < Granted || v > lastVerdict {
		return "unknown"
	}
	return [...]string{"granted", "taken", "quiet", "other_list", "old_term", "full"}[v-Granted]
}

// Item is what a Message says of one virtual IP.
type Item struct {
	VIP string
	// Term numbers the tenures of the virtual IP. An Answer repeats it.
	Term uint64
	// Op is set in a Request.
	Op Op

	// What follows is set in an Answer.

	Verdict Verdict
	// LastTerm is the term of the grant that Other has if that is Taken, and else
	// the highest that the member knows of.
	LastTerm uint64
	// Other is who has the member's grant if that is Taken; if Granted, who else
	// says to hold it; if OtherList, who holds by the member's list, which is the
	// newer one.
	Other string
	// OtherHolds: Other holds; otherwise it asks.
	OtherHolds bool
	// LeftMS is after how many milliseconds to ask again, rounded up, if the
	// verdict is one of time.
	LeftMS uint16
}
