// Package controlplanetest is a control plane for tests: it speaks the REST contract
// of package api over HTTP and keeps everything in memory.
//
// It decodes with package resource and keeps package tree's trees, as the real
// one does, so that digests, problems and lines are real. It does not compile:
// it refuses what decoding refuses and references that lead nowhere. It has no
// nodes, and explains nothing, but what a test sets.
package controlplanetest
