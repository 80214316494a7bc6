// Package measure runs the proxies and the load, and takes the figures.
//
// Everything that it starts is a process of its own, held to one processor, in
// a process group apart, so that Ctrl-C reaches the driver alone; the driver ends
// each by its id. Should the driver die, the kernel ends its children, and they
// theirs. Every wait is bounded and ends with the context.
package measure
