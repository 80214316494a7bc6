package e2e

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/attack"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// floodFrames is how many frames an attack has where FLOODS does not say
	// otherwise.
	floodFrames = 3000
	// floodCPU is what 100,000 frames may cost the node, and floodSlack by how much
	// more a short attack may cost on a busy machine, where a few connections and the
	// clock's ticks of 10 ms weigh more.
	floodCPU   = time.Second
	floodSlack = 8
	// floodMemory is by how much the node may grow.
	floodMemory = 64 << 20
	// floodRate is how many frames an attacker sends in a second; a short run has no
	// time for it.
	floodRate      = 10_000
	floodRateShort = 25_000
	// attackedFaults is the faultsPerClient of the listeners that are attacked, where FLOODS_FAULTS does not say
	// otherwise. Without a limit a connection is ended and the next begins: then no bound of processor
	// time and of waiting is held.
	attackedFaults = 100
	// floodLate is how much slower others may be, in a long run; floodWait is what
	// nobody waits in a short one, beside which the generator and other tests run.
	floodLate = 1.2
	floodWait = time.Second
	// floodSurer is how many times as many frames a long attack has that is made again, where others
	// were slower: of a hundred attacks that do nothing two or three are so by chance.
	floodSurer = 3
	// floodTries is how often a short attack is made where others waited: of three the
	// middle one counts, as a machine may stand still for a moment.
	floodTries = 3
	// floodMost bounds an attack with its turns.
	floodMost = 5 * time.Minute
)

// flood makes one attack and looks at everything. Where others waited in a short one it is
// made again, and the middle one of three counts for them; a long one is made again, longer,
// and that counts. What the target tells, counts and uses is looked at each time.
func (f *floodField) flood(t *testing.T, kind string, a *attack.Attack, o attack.Options) {
	t.Helper()
	o.Frames, o.Rate = f.frames, f.rate
	if f.long {
		try := f.attack(t, kind, a, o)
		if f.late(a, &try) {
			o.Frames *= floodSurer
			try = f.attack(t, kind, a, o)
		}
		f.rows = append(f.rows, try.row)
		if f.late(a, &try) {
			t.Errorf("others' p99 was %s times that without", try.slower)
		}
		return
	}
	o.Workers = 1 // each connection then has enough frames to be ended
	var tries []floodTry
	for len(tries) < floodTries {
		try := f.attack(t, kind, a, o)
		if tries = append(tries, try); a.Want.Work || len(tries) == 1 && try.p99 <= floodWait {
			break
		}
	}
	slices.SortFunc(tries, func(a, b floodTry) int { return cmp.Compare(a.p99, b.p99) })
	middle := tries[len(tries)/2]
	f.rows = append(f.rows, middle.row)
	if middle.p99 > floodWait && !a.Want.Work {
		t.Errorf("others waited for %s", middle.p99)
	}
}

// late says that others waited longer beside an attack than they may.
func (f *floodField) late(a *attack.Attack, try *floodTry) bool {
	return f.faults > 0 && !a.Want.Work && try.slower.least > floodLate
}

// floodTry is one attack as it went.
type floodTry struct {
	p99    time.Duration // what others waited
	slower ratio         // as many times what they wait without, in a long run
	row    string        // of the table
}

// attack makes one try.
func (f *floodField) attack(t *testing.T, kind string, a *attack.Attack, o attack.Options) floodTry {
	t.Helper()
	want := &a.Want
	counted := f.counts(t, want.Counter)
	ending := f.counts(t, want.Ending)
	refused := f.counts(t, refusedForFaults)
	dropped := f.counts(t, droppedForFaults)
	arrived := f.big.Load()
	f.attacker++
	var outcome attack.Outcome
	var err error
	run := func() {
		ctx, stop := context.WithTimeout(t.Context(), floodMost)
		defer stop()
		outcome, err = a.Run(ctx, o)
	}
	var busy sighting
	var slower ratio
	if f.long {
		o.Turns = attack.NewTurns()
		busy, slower = f.inTurns(t, o.Turns, run)
	} else {
		busy = f.see(t, 0, run)
	}
	if err != nil {
		t.Error(err)
	}
	per := float64(busy.cpu) / float64(outcome.Frames) * 1e5
	f.judge(t, a, &outcome)
	f.grows(t, refusedForFaults, refused, float64(outcome.Refused), float64(outcome.Refused))
	// An answer may come later than the attacker waits for it, where it has no processor; and the
	// kernel also counts what still comes on connections that were reset.
	f.grows(t, droppedForFaults, dropped, 0.9*float64(outcome.Unanswered), float64(outcome.Frames))
	ended := float64(outcome.Ended)
	if want.Ending != "" {
		f.grows(t, want.Ending, ending, ended, float64(outcome.Connections))
		ended = 1 // each may count any number
	}
	if a.Shake != nil {
		ended = float64(outcome.Connections) // each ends by itself
	}
	n := 0.0
	if want.Counter != "" {
		n = f.grows(t, want.Counter, counted, max(ended, 1), max(float64(outcome.Frames), float64(outcome.Connections)))
	}
	if want.Arrives {
		if got := f.big.Load() - arrived; got < outcome.Frames/2 {
			t.Errorf("%d bytes came to the endpoint, of %d", got, outcome.Frames)
		}
	}
	if most := f.mostCPU(); time.Duration(per) > most && !want.Work && f.faults > 0 {
		t.Errorf("100,000 frames cost %s, at most %s is expected", time.Duration(per), most)
	}
	if busy.grew > floodMemory {
		t.Errorf("the node grew by %d MiB", busy.grew>>20)
	}
	elapsed := outcome.Elapsed
	if o.Turns != nil {
		elapsed = o.Turns.Elapsed()
	}
	row := fmt.Sprintf("| %s | %s | %d | %d | %d | %d | %.2f | %.0f | %.1f | %s | %.0f | %.2f | %.2f | %s |", kind, a.Name, outcome.Frames, outcome.Connections,
		outcome.Refused, outcome.Unanswered, per/1e9, 100*float64(busy.cpu)/float64(elapsed), float64(busy.grew)/(1<<20), told(&outcome), n, milliseconds(p99(busy.waited)), milliseconds(slower.with), slower)
	t.Log(row)
	return floodTry{p99(busy.waited), slower, row}
}

// mostCPU is what 100,000 frames may cost.
func (f *floodField) mostCPU() time.Duration {
	if f.long {
		return floodCPU
	}
	return floodCPU * floodSlack
}

// counts is the value of a series; of no name, 0.
func (f *floodField) counts(t *testing.T, series string) float64 {
	t.Helper()
	if series == "" {
		return 0
	}
	return f.counter(t, series)
}

// grows waits until a series has grown by as much as it should, and says by how much.
func (f *floodField) grows(t *testing.T, series string, from, least, most float64) (by float64) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; wakeup.After(t.Context(), 10*time.Millisecond) {
		by = f.counter(t, series) - from
		if by >= least || time.Now().After(end) {
			break
		}
	}
	if by < least || by > most {
		t.Errorf("%s grew by %.0f, %.0f to %.0f are expected", series, by, least, most)
	}
	return by
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// told says in short what the target told.
func told(o *attack.Outcome) string {
	var parts []string
	for code, n := range o.Codes {
		parts = append(parts, fmt.Sprintf("GOAWAY %d: %d", code, n))
	}
	for code, n := range o.Resets {
		parts = append(parts, fmt.Sprintf("RST %d: %d", code, n))
	}
	for status, n := range o.Statuses {
		parts = append(parts, fmt.Sprintf("%d: %d", status, n))
	}
	if o.Stalled > 0 {
		parts = append(parts, fmt.Sprintf("not read on %d", o.Stalled))
	}
	slices.Sort(parts)
	return strings.Join(append(parts, fmt.Sprintf("ended %d", o.Ended)), ", ")
}

// judge holds what the target told against what it should, on every connection.
func (f *floodField) judge(t *testing.T, a *attack.Attack, o *attack.Outcome) {
	t.Helper()
	want := a.Want
	switch {
	case a.Shake != nil || a.Deaf:
	case o.Ended+o.Refused+o.Spared != o.Connections:
		t.Errorf("%d connections, %d were ended, %d refused and %d neither: %s", o.Connections, o.Ended, o.Refused, o.Spared, told(o))
	case want.Ends && (o.Ended == 0 || o.Spared > int64(f.workers())):
		t.Errorf("%d connections were not ended: %s", o.Spared, told(o))
	case !want.Ends && o.Ended > 0:
		t.Errorf("connections were ended: %s", told(o))
	}
	if a.HTTP2 && want.Ends && want.Code != attack.NoCode {
		if n := o.Codes[want.Code]; len(o.Codes) != 1 || int64(n) != o.Ended {
			t.Errorf("%d of %d connections were ended by GOAWAY with code %d: %s", n, o.Ended, want.Code, told(o))
		}
	} else if len(o.Codes) > 0 {
		t.Errorf("no GOAWAY is expected: %s", told(o))
	}
	if a.HTTP2 && want.Resets && int64(o.Resets[want.Reset]) != o.Connections {
		t.Errorf("streams were not reset with code %d once each: %s", want.Reset, told(o))
	}
	switch n := int64(o.Statuses[want.Status]); {
	case want.Status == 0:
	case want.Ends && n != o.Ended:
		t.Errorf("%d of %d connections were told %d: %s", n, o.Ended, want.Status, told(o))
	case n == 0 || !want.Ends && len(o.Statuses) > 1:
		t.Errorf("nothing but %d is expected: %s", want.Status, told(o))
	}
}

// workers is how many connections an attack has at a time: the last ones have not
// frames enough to be ended.
func (f *floodField) workers() int {
	if f.long {
		return 2
	}
	return 1
}

// TestFloodsAreEndedCountedAndCheap makes every attack in turn; each has to be
// ended with its code and counted by its reason, and neither costs the node much
// nor makes others wait. FLOODS says how many frames each has; then the same is done
// over TLS too. FLOODS_FAULTS says another limit than attackedFaults.
func TestFloodsAreEndedCountedAndCheap(t *testing.T) {
	f := newFloodField(t)
	f.each(t, "HTTP2", attack.HTTP2(), attack.Options{Dial: f.dial(8080, false, "")})
	f.each(t, "HTTP1", attack.HTTP1(), attack.Options{Dial: f.dial(8080, false, "")})
	f.each(t, "TLS", attack.TLS(), attack.Options{Dial: f.dial(8443, false, ""), Connections: max(f.frames/50, 100)})
	if f.long {
		f.each(t, "nobody", []*attack.Attack{attack.Aside()}, attack.Options{Dial: f.aside(t)})
		f.each(t, "HTTP2-TLS", attack.HTTP2(), attack.Options{Dial: f.dial(8443, true, "h2")})
		f.each(t, "HTTP1-TLS", attack.HTTP1(), attack.Options{Dial: f.dial(8443, true, "http/1.1")})
	}
	table := floodHead + "\n" + strings.Join(f.rows, "\n")
	t.Logf("\n%s", table)
	if page := os.Getenv("FLOODS_PAGE"); page != "" && f.long {
		writeFigures(t, page, f.caption(), table)
	}
}

// caption says how the figures came about.
func (f *floodField) caption() string {
	how := "attacker, others and node share the processors"
	if f.apart {
		how = "the node has one processor for itself; attacker, control plane, others and endpoints share another, on which the others go first"
	}
	if f.awake {
		how += "; both are kept awake by a timer"
	}
	return fmt.Sprintf("Measured %s on %s, by `make floods FLOODS=%d FAULTS=%d`: %s. The attacker sends %d frames a second, others ask 1,000 times a second.",
		time.Now().UTC().Format(time.DateOnly), machine(), f.frames, f.faults, how, floodRate)
}

// writeFigures puts a table between two marks of a page.
func writeFigures(t *testing.T, page, caption, table string) {
	t.Helper()
	const begin, end = "<!-- figures -->\n", "<!-- end of figures -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s has no place for figures", page)
	}
	text = []byte(before + begin + "\n" + caption + "\n\n" + table + "\n\n" + end + after)
	if err := os.WriteFile(page, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// each makes attacks in turn.
func (f *floodField) each(t *testing.T, kind string, attacks []*attack.Attack, o attack.Options) {
	t.Run(kind, func(t *testing.T) {
		for _, a := range attacks {
			t.Run(a.Name, func(t *testing.T) { f.flood(t, kind, a, o) })
		}
	})
}

const floodHead = "| by | attack | frames | connections | reset | unanswered | CPU s per 100,000 | % of a processor | MiB more | told | counted | others' p99 ms | for the node, ms | times without |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"

// refusedForFaults is the series that counts connections of clients whose connections kept
// ending by their fault.
const refusedForFaults = `proxyfleet_connections_refused_total{limit="faults"}`

// droppedForFaults counts what such clients sent to open connections, and the kernel dropped.
const droppedForFaults = "proxyfleet_packets_dropped_total"

// TestConnectionsBeyondAClientsShareAreRefusedAndCounted holds as many as one client
// may have, and opens others beside them.
func TestConnectionsBeyondAClientsShareAreRefusedAndCounted(t *testing.T) {
	const most, more = 10, 200
	f := newFloodField(t)
	dial := f.dial(8082, false, "")
	for range most {
		c, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /local HTTP/1.1\r\nHost: "+attack.Host+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("within the share: %v, %v", resp, err)
		}
		resp.Body.Close()
	}
	a := attack.Connections()
	before := f.counter(t, a.Want.Counter)
	outcome, err := a.Run(t.Context(), attack.Options{Dial: dial, Frames: more, Workers: 8})
	if err != nil {
		t.Error(err)
	}
	f.judge(t, a, &outcome)
	f.grows(t, a.Want.Counter, before, float64(outcome.Connections), float64(outcome.Connections))
	if outcome.Ended < more {
		t.Errorf("%d were refused, of %d: %s", outcome.Ended, more, told(&outcome))
	}
}

// TestSlowClientsAreEndedAndCounted has clients that take their time in every way
// that has a bound, all at once; others are served meanwhile.
func TestSlowClientsAreEndedAndCounted(t *testing.T) {
	const each = 40
	f := newFloodField(t)
	var wg sync.WaitGroup
	start := func(kind string, a *attack.Attack, port int) {
		wg.Go(func() {
			o := attack.Options{Dial: f.dial(port, false, ""), Frames: 1 << 40, Connections: each, Workers: each, Patience: 20 * time.Second}
			if a.Deaf {
				o.Frames = each
			}
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			outcome, err := a.Run(ctx, o)
			if err != nil {
				t.Errorf("%s: %v", a.Name, err)
			}
			t.Logf("%s: %s: %s after %s", kind, a.Name, told(&outcome), outcome.Elapsed.Round(time.Millisecond))
			f.judge(t, a, &outcome)
			if a.Want.Ends && outcome.Ended != each {
				t.Errorf("%s: %d of %d connections were ended", a.Name, outcome.Ended, each)
			}
		})
	}
	counted := map[string]float64{}
	attacks := append(attack.SlowHTTP1(), attack.SlowHTTP2()...)
	for _, a := range append(attacks, attack.SlowTLS()...) {
		counted[a.Want.Counter] += each
	}
	before := map[string]float64{}
	for series := range counted {
		before[series] = f.counter(t, series)
	}
	var u used
	busy := f.others.beside(t, func() {
		u = f.watch(func() {
			for _, a := range attacks {
				start("plain", a, 8081)
			}
			for _, a := range attack.SlowTLS() {
				start("TLS", a, 8444)
			}
			wg.Wait()
		})
	})
	t.Logf("others' p99 %s; the node used %s and grew by %d KiB", p99(busy.Waited), u.cpu, u.grew>>10)
	for series, n := range counted {
		fleettest.Wait(t, 10*time.Second, fmt.Sprintf("%s to grow by %.0f", series, n), func() bool { return f.counter(t, series)-before[series] >= n })
	}
	if u.grew > floodMemory {
		t.Errorf("the node grew by %d MiB", u.grew>>20)
	}
}
