// Package admin is what a node tells about itself, over HTTP on an address of
// its own:
//
//	/healthz      the process answers
//	/readyz       503 with the reasons while the node should get no traffic
//	/metrics      Prometheus
//	/config       what is in force and what is wanted; ?full adds the resources
//	/debug/pprof  for clients on loopback only
//
// It only reads. Nothing is counted here: metrics are given their names when
// they are asked for, from counters that others keep. Since an answer may take
// tens of milliseconds of processor time on a node with thousands of routes, its
// making takes the permit that rations what runs beside the loops, and lets it go
// again and again.
package admin
