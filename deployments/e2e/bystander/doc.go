// Package bystander is who is served beside an attack: clients that keep asking a target, and the
// endpoints that it asks in turn. How long the clients wait says what the attack costs others.
//
// All of it is one thread with one epoll instance, since what is measured must not be how long
// goroutines of the measuring program wait for each other: at 1,000 requests a second clients and
// endpoints take a twentieth of a processor. The load is open: a request is due at its time, however
// long others take, and its latency counts from then.
package bystander
