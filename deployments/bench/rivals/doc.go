// Package rivals knows the proxies that are measured: how each is configured and
// started. It writes files and command lines; it starts nothing.
//
// Every proxy runs at its best documented setting for the task: one worker (it
// gets one processor), connections kept on both sides without a limit on their
// requests, pools and tables sized to the load, logs buffered where that exists.
// The templates say why, line by line.
package rivals
