// Package hugepage backs the Go heap with huge pages.
//
// A request for one route of many reads memory that nobody has read for a while.
// With pages of 4 KiB the processor has forgotten where they are too (it remembers
// some 2,048 of them, 8 MiB), and on a virtual machine looking that up can cost more
// than the memory itself. Most systems give pages of 2 MiB only to whoever asks
// (transparent_hugepage=madvise).
//
// Keeper asks when a table was built and the heap is large: once, and only for
// stretches that are in memory almost whole (MADV_COLLAPSE, Linux 6.1). It leaves no
// mark on the memory, so the kernel does not fill up in the background what the Go
// runtime gives back. Where the system cannot do it nothing happens.
package hugepage
