// Package api holds the JSON shapes and the contract of the control plane's
// REST interface. The server (controlplane/rest) and its clients (cli/client)
// share it, so that neither can drift from the other. It is data only: no
// behaviour beyond small readers of its own types.
//
// # Resources
//
// A resource travels in the text form of package resource: kind, name,
// labels, spec. The form of bodies and answers is chosen by Content-Type and
// Accept: application/json or application/yaml (text/yaml, application/x-yaml
// and text/x-yaml are read too). Everything that is not a resource is JSON.
// JSON is YAML, so both are read by one decoder; a body may hold several
// documents, and problems name document and line in either form. A body with
// another Content-Type, or with none, is answered with 415: a browser can send
// those across origins without asking. Bodies are at most MaxBody long (413).
//
// # Paths
//
// Query parameters in brackets are optional. Unknown parameters are refused
// with 400, so that a misspelt dryRun never commits. dryRun and allowShrink
// are true or false.
//
//	POST   /v1/apply [dryRun] [message] [allowShrink]   resources          → 200 ApplyResult
//	GET    /v1/<plural>                                                    → 200 ResourceList, or YAML documents
//	GET    /v1/<plural>/<name>                                             → 200 the resource
//	PUT    /v1/<plural>/<name> [dryRun] [message] [allowShrink] one resource → 200 | 201 ApplyResult
//	DELETE /v1/<plural>/<name> [dryRun] [message] [allowShrink]            → 200 ApplyResult
//	GET    /v1/history [before] [limit]                                    → 200 HistoryList, newest first
//	GET    /v1/history/<revision>                                          → 200 HistoryDetail
//	GET    /v1/diff from= [to]                                             → 200 Diff of two revisions; to defaults to the current one
//	POST   /v1/diff                                     resources          → 200 Diff: what apply would change
//	POST   /v1/explain                                  ExplainRequest     → 200 Explanation: which route a request gets
//	POST   /v1/rollback [dryRun] [allowShrink]          RollbackRequest    → 200 ApplyResult
//	POST   /v1/restore [dryRun] [message] [allowShrink] resources          → 200 ApplyResult
//	GET    /v1/nodes                                                       → 200 NodeList, or YAML documents of kind Node
//	GET    /v1/nodes/<id>                                                  → 200 NodeStatus, or YAML of kind Node
//	PUT    /v1/nodes/<id>                               one Node           → 200 | 201 NodeStatus
//	DELETE /v1/nodes/<id>                                                  → 204; 409 TypeConflict while it is connected
//	GET    /v1/vips                                                        → 200 VIPList
//	GET    /v1/vips/<name>                                                 → 200 VIPStatus
//	GET    /v1/epoch                                                       → 200 Epoch
//	POST   /v1/epoch/accept                             [AcceptRequest]    → 200 Epoch
//	GET    /v1/events                                                      → 200 text/event-stream of Event
//	GET    /v1/status                                                      → 200 Status
//	GET    /v1/version                                                     → 200 Build
//	GET    /v1/openapi.json                                                → 200 OpenAPI 3.1
//	GET    /healthz                                                        → 200 Health
//	GET    /readyz                                                         → 200 | 503 Health
//	GET    /metrics                                                        → 200 Prometheus text
//
// <plural> is the lower-case plural of a configuration kind: listeners,
// routes, policies, upstreams, ratelimits, virtualips, certificates,
// rolloutpolicies (resource.Kinds is the authority). Nodes are fleet state and
// no part of the configuration: they have paths of their own, are not in the
// history, and a Node in the body of an apply is a problem.
//
// # Meaning
//
// Apply replaces each resource that the body names, whole, and leaves all
// others alone; nothing is merged or pruned. It is atomic: one new revision or
// none. The same kind and name twice in a body is a problem. When nothing
// differs no revision is made, and the answer carries the current one. A dry
// run does everything but the write; its ApplyResult carries the revision it
// was computed against, and the digest that the write would have produced.
//
// DELETE of what others refer to is refused with 409 TypeReferenced; problems
// name the resources that refer to it, with the field. A change that would
// leave less than half of the resources is refused with 409 TypeShrinks unless
// allowShrink is true (configurations of fewer than 10 resources are exempt).
//
// Rollback makes a new revision whose configuration is exactly, byte for byte,
// that of the named one. The history goes on; nodes are not touched.
//
// Restore makes a new revision whose configuration is exactly the resources of the
// body: all others are deleted. Otherwise it is as apply.
//
// # Concurrency
//
// Answers carry ETag: on the list of a kind, apply, rollback, DELETE and status
// it is epoch and revision of the fleet in quotes ("7-42"); on one resource the
// hex hash of its canonical bytes; on a node its record's revision; on the epoch
// its number.
//
// If-Match on apply, restore and rollback names epoch and revision (quotes may be left
// out), on PUT and DELETE of one resource its hash. A revision alone never
// holds: another epoch may have come to the same number. If it does not hold,
// also by losing a race: 412 TypeStale with the current revision, whose detail
// names the current tag, and nothing was changed. If-None-Match: * on PUT creates only: 412 TypeExists otherwise.
// Without either, the server computes the change again on whatever won, a
// bounded number of times; 409 TypeConflict after that.
//
// # Epochs
//
// A node holds a new epoch by which it would lose too much (see Epoch) until
// somebody accepts it. An acceptance says which epoch it is of, so that one
// accepts what one saw: by If-Match, by the body, or by both; 412 TypeStale if
// another epoch is in force. It stays for as long as the epoch lasts, and to
// accept again changes nothing.
//
// # Authors and messages
//
// Until authentication exists, the history's author is what X-Author says (at
// most MaxAuthor bytes, printable), and anonymous@<client address> without it.
// It is a note, not a proof. message is at most MaxMessage bytes.
//
// # Errors
//
// Every answer of 400 and above is an Error as application/problem+json.
//
//	400 TypeMalformed    query parameter, header or revision that cannot be read; body that is no YAML or JSON
//	403 TypeForbidden    Origin or Host of a foreign page (loopback address without authentication)
//	404 TypeNotFound     no such path, kind, resource, node or revision
//	405 TypeMethod       the path exists, the method does not
//	406 TypeAcceptable   the Accept header allows no form that the answer has
//	409 TypeReferenced, TypeShrinks, TypeConflict
//	410 TypeGone         the revision is older than the history that is kept
//	412 TypeStale, TypeExists
//	413 TypeTooLarge
//	415 TypeMediaType
//	422 TypeInvalid      problems holds everything that is wrong, sorted by document and line
//	500 TypeInternal
//	503 TypeUnavailable  the store does not answer, or too many bodies or event streams are at work
//	504 TypeTimeout      the store did not answer in time; of a change detail says whether it was made,
//	                     was not, or may or may not have been
//
// # Events
//
// /v1/events is a stream of server-sent events. event: is the type, data: an
// Event as JSON on one line, id: its number. The first is EventStatus, so that
// a client needs no second request; then changes and what happens to nodes as
// it happens. A change may be told that the status had already; several answers
// of a node in a moment may be one event. A comment line is sent every 15
// seconds. Past events are not kept: Last-Event-ID is ignored, and a client that
// reads too slowly gets EventLagged and the end of the stream, and connects again.
package api
