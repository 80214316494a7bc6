package compile

// Permit is one of the few rights to compute beside the loops. Acquire may wait.
type Permit interface {
	Acquire()
	Release()
}

// meter holds the permit while work is done, and passes it on when about
// sliceCost of work was done. Purity forbids a clock, so work is estimated: a
// unit is about a nanosecond on a machine of 2020, measured by the benchmarks.
type meter struct {
	permit Permit // nil: there is nobody to be polite to
	spent  int
}

const (
	sliceCost = 400_000

	costLeaf        = 100     // to put a leaf on a list
	costRead        = 10_000  // to hash, parse, check and convert a resource
	costByte        = 20      // for each of its bytes
	costCertificate = 200_000 // to parse a chain and its key, and to check signatures
	costRegex       = 10_000  // for each pattern
	costIndex       = 1_500   // to put a route under one host of one listener
	costRef         = 400     // to note a reference
)

func (m *meter) start() {
	if m.permit != nil {
		m.permit.Acquire()
	}
}

func (m *meter) stop() {
	if m.permit != nil {
		m.permit.Release()
	}
}

// spend notes work, about to be done or just done.
func (m *meter) spend(cost int) {
	m.spent += cost
	if m.spent < sliceCost {
		return
	}
	m.spent = 0
	m.stop()
	m.start()
}
