// Package demo runs a whole fleet on one machine: a control plane on embedded
// etcd, nodes on loopback addresses of their own and a sample backend. It needs
// no root.
//
// # Model
//
// A Plan says which processes run with which flags and which ports they need;
// it is computed from a Config alone. Run carries a plan out: it checks the
// ports, starts the processes, applies the first configuration, waits until
// every node runs it, then shows the fleet until its context ends.
//
// # Invariants
//
//   - Every process that Run starts has ended when Run returns, and what those
//     had started: on Linux the demo adopts what they leave behind, so that a
//     node that was upgraded ends with the rest.
//   - On Linux the kernel ends what Run started also when the demo itself is
//     killed; the process of an upgraded node, which Run did not start, stays.
//   - Nothing is written outside of the demo's directory.
//   - Run owns its child processes, its log files and, if it made it, the
//     directory; nobody else may touch them while it runs.
package demo
