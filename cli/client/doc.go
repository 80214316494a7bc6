// Package client speaks the REST interface of a control plane, and reads and
// writes the context file that says where control planes are.
//
// # Model
//
// A Client is bound to one server. Each method is one request of the contract
// in package api and returns that package's shapes. It never repeats a request
// by itself: a caller that wants to read, change and write again knows what its
// change means.
//
// # Errors
//
// A refusal by the control plane is an *api.Error. A server that gives no
// answer is errors.Is(err, ErrNoServer). An answer that no control plane gives
// is an *UnexpectedError. All of them name the server or the request.
package client
