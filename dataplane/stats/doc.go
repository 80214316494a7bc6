// Package stats counts what the loops of a node do.
//
// A Loop belongs to one loop of the engine and is written by nobody else, so
// counting needs neither locks nor locked instructions: a counter costs about a
// nanosecond. A Set holds the loops' counters and adds them up when somebody
// asks, which is at a scrape. Totals of different counters are read one after
// another while the loops go on, so they may differ by the requests that
// finished meanwhile; each counter by itself only grows.
//
// Series are keyed by slots, small numbers that an Interner gives to names
// (listener, route, upstream, endpoint) when a table is bound. A slot stays with
// its name as long as the name lives; afterwards its number is used again with
// another generation, and the first loop that counts for the new name starts
// from zero. There are at most as many slots as Limits says: names beyond share
// slot 0, which is shown as "other". So memory and the number of series are
// bounded whatever is configured. A slot that was never given is 0 too.
//
// Latencies are kept in log-linear histograms: 16 buckets for each doubling,
// which is an error of at most 3.2 % for any quantile between 4 µs and 137 s.
//
// Ownership: methods of Loop are for its loop only. Set and Interner may be
// used by any goroutine.
package stats
