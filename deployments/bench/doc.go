// Bench measures proxyfleet's node beside nginx, HAProxy, Caddy and Go's reverse
// proxies, and writes docs/PERFORMANCE.md. Run it by `make bench-rivals`.
//
// What is measured stands in package report, how in package measure, and how the
// proxies are configured in package rivals. The program starts itself again as
// the other ends of the proxies (package loadgen).
package main
