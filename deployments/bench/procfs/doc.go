// Package procfs reads what Linux says of processes: the processor time that
// they used, the memory that they hold, and their children (proc(5)).
//
// Parsing is apart from reading, so that it is tested on texts.
package procfs
