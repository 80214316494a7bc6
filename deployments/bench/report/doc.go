// Package report holds what a run measured, judges it by the bars, and writes
// the page that is published. Same results, same page: it reads no clock and no
// file, and no number on the page comes from anywhere else.
package report
