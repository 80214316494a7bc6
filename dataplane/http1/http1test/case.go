// Package http1test holds the table of HTTP/1.1 cases: messages that must be
// accepted and messages that must be refused, each with the section that
// decides. The codec's tests run it whole, split at every byte and with
// trailing bytes; the engine's tests run it over sockets.
package http1test

import (
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// Case is what one peer sends on one connection, then closing it, and what
// must come of it.
type Case struct {
	Name    string // unique
	Section string // "9112 6.3": RFC and section, or "design 2" where ours decides
	Role    http1.Role
	Asked   message.Method // Role Client: the method of every request that is answered
	Input   string

	Accept []Message    // the messages that are read whole, in order
	Reason http1.Reason // why the rest is refused; NoReason: nothing is

	// Path is the normal form of the path of the only request, where that is
	// what the case is about; Problem why it has none.
	Path    string
	Problem message.PathProblem
	Options message.PathOptions
}

// Message is a message as it must be read.
type Message struct {
	Line     string // "GET /target" or "200"; interim responses count as messages
	Body     string
	Trailers string // as received
	Closes   bool   // nothing follows on this connection
}

// Status is the status code that a server answers to the request that a case
// ends with, and 0 for one that it accepts, or of which the end is missing.
func (c *Case) Status() uint16 {
	switch {
	case c.Problem != message.PathOK:
		return 400
	case c.Reason == http1.TruncatedHead || c.Reason == http1.TruncatedBody:
		return 0
	}
	return c.Reason.Status()
}

// Cases returns the whole table.
func Cases() []Case {
	return slices.Concat(lineCases(), targetCases(), fieldCases(), hostCases(),
		framingCases(), chunkCases(), connectionCases(), responseCases(), normalCases())
}

func accept(name, section, input string, messages ...Message) Case {
	return Case{Name: name, Section: section, Input: input, Accept: messages}
}

func refuse(name, section, input string, reason http1.Reason, before ...Message) Case {
	return Case{Name: name, Section: section, Input: input, Reason: reason, Accept: before}
}

// answer and badAnswer are accept and refuse for responses to GET.
func answer(name, section, input string, messages ...Message) Case {
	c := accept(name, section, input, messages...)
	c.Role = http1.Client
	c.Asked = message.MethodGet
	return c
}

func badAnswer(name, section, input string, reason http1.Reason, before ...Message) Case {
	c := answer(name, section, input, before...)
	c.Reason = reason
	return c
}

// to changes the method that a response answers.
func to(m message.Method, c Case) Case {
	c.Asked = m
	return c
}

// msg is a message after which the connection stays open.
func msg(line, body string) Message { return Message{Line: line, Body: body} }

// last is a message after which it does not.
func last(line, body string) Message { return Message{Line: line, Body: body, Closes: true} }

const host = "Host: shop.test\r\n"

// request is a GET of target.
func request(target string) string {
	return "GET " + target + " HTTP/1.1\r\n" + host + "\r\n"
}

// with is a GET with further field lines.
func with(lines string) string {
	return "GET / HTTP/1.1\r\n" + host + lines + "\r\n"
}

// post is a POST with further field lines and a body.
func post(lines, body string) string {
	return "POST / HTTP/1.1\r\n" + host + lines + "\r\n" + body
}

// chunks is a POST with a chunked body.
func chunks(body string) string { return post("Transfer-Encoding: chunked\r\n", body) }
