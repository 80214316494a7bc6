package rest

import (
	"net/http"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// operation is one row of the table that gin's routes are registered from and
// the OpenAPI document is written from. There is no other list of routes.
type operation struct {
	method string
	// path as gin takes it: /v1/routes/:name.
	path    string
	id      string
	summary string
	// query are the parameters; others are refused.
	query   []parameter
	headers []parameter
	body    *body
	answers []answer
	// errors beyond those that all operations have.
	errors []api.ErrorType
	// stream: no deadline of a request.
	stream bool
	// brief: it changes one small record, and has no longer than a request that reads.
	brief  bool
	handle handle
}

type parameter struct {
	name, summary string
	schema        object
	required      bool
}

// body says what an operation takes: resources of a kind ("" for any of the
// configuration), or a shape of package api.
type body struct {
	kind  string
	many  bool
	shape any
	// optional: the operation does without.
	optional bool
}

// answer says what an operation answers when it worked: a shape of package api,
// resources of a kind, or text of a media type.
type answer struct {
	status int
	shape  any
	kind   string
	media  string
	// tag: the answer carries an ETag.
	tag bool
}

var (
	truth   = object{"type": "boolean", "default": false}
	text    = object{"type": "string"}
	counter = object{"type": "integer", "minimum": 0}
)

func changeParameters() []parameter {
	return []parameter{
		{name: api.QueryDryRun, summary: "Check and compute, but write nothing.", schema: truth},
		{name: api.QueryMessage, summary: "Why, for the history.", schema: object{"type": "string", "maxLength": api.MaxMessage}},
		{name: api.QueryAllowShrink, summary: "Allow a change that leaves less than half of the resources.", schema: truth},
	}
}

func authorHeader() parameter {
	return parameter{name: api.HeaderAuthor, summary: "Who makes the change. It is not authenticated.", schema: object{"type": "string", "maxLength": api.MaxAuthor}}
}

func ifMatch(what string) parameter {
	return parameter{name: "If-Match", summary: "Make the change only if this is the current " + what + ".", schema: text}
}

// operations is the table.
func (s *Server) operations() []operation {
	table := []operation{
		{
			method: http.MethodPost, path: api.PathApply, id: "apply",
			summary: "Put every resource of the body in the place of the one of its name, all at once.",
			query:   changeParameters(), headers: []parameter{ifMatch("epoch and revision of the fleet, as in the ETag: 7-42"), authorHeader()},
			body:    &body{many: true},
			answers: []answer{{status: http.StatusOK, shape: api.ApplyResult{}, tag: true}},
			errors:  changeErrors(api.TypeTooLarge, api.TypeMediaType),
			handle:  s.apply,
		},
		{
			method: http.MethodPost, path: api.PathRestore, id: "restore",
			summary: "Make the configuration exactly the resources of the body: all others are deleted.",
			query:   changeParameters(), headers: []parameter{ifMatch("epoch and revision of the fleet, as in the ETag: 7-42"), authorHeader()},
			body:    &body{many: true},
			answers: []answer{{status: http.StatusOK, shape: api.ApplyResult{}, tag: true}},
			errors:  changeErrors(api.TypeTooLarge, api.TypeMediaType),
			handle:  s.restore,
		},
		{
			method: http.MethodPost, path: api.PathRollback, id: "rollback",
			summary: "Make the configuration again what it was at a revision.",
			query:   []parameter{changeParameters()[0], changeParameters()[2]}, headers: []parameter{ifMatch("epoch and revision of the fleet, as in the ETag: 7-42"), authorHeader()},
			body:    &body{shape: api.RollbackRequest{}},
			answers: []answer{{status: http.StatusOK, shape: api.ApplyResult{}, tag: true}},
			errors:  changeErrors(api.TypeTooLarge, api.TypeMediaType, api.TypeNotFound, api.TypeGone),
			handle:  s.rollback,
		},
	}
	table = append(table, s.historyOperations()...)
	for _, kind := range resource.Kinds() {
		if kind.Configuration {
			table = append(table, s.kindOperations(kind)...)
		}
	}
	table = append(table, s.nodeOperations()...)
	table = append(table, s.vipOperations()...)
	table = append(table, s.epochOperations()...)
	return append(table, s.processOperations()...)
}

// changeErrors are the errors of everything that changes the configuration.
func changeErrors(more ...api.ErrorType) []api.ErrorType {
	return append([]api.ErrorType{api.TypeInvalid, api.TypeStale, api.TypeShrinks, api.TypeConflict}, more...)
}

func (s *Server) historyOperations() []operation {
	return []operation{
		{
			method: http.MethodGet, path: api.PathHistory, id: "history",
			summary: "Changes, newest first.",
			query: []parameter{
				{name: api.QueryBefore, summary: "Only revisions below this one.", schema: counter},
				{name: api.QueryLimit, summary: "How many at most.", schema: object{"type": "integer", "minimum": 1, "maximum": api.MaxHistoryLimit, "default": api.DefaultHistoryLimit}},
			},
			answers: []answer{{status: http.StatusOK, shape: api.HistoryList{}}},
			handle:  s.history,
		},
		{
			method: http.MethodGet, path: api.PathHistory + "/:revision", id: "revision",
			summary: "One change, with what it did.",
			answers: []answer{{status: http.StatusOK, shape: api.HistoryDetail{}}},
			errors:  []api.ErrorType{api.TypeNotFound, api.TypeGone},
			handle:  s.revision,
		},
		{
			method: http.MethodGet, path: api.PathDiff, id: "diffRevisions",
			summary: "What differs between two revisions.",
			query: []parameter{
				{name: api.QueryFrom, summary: "The older revision; 0 is the empty beginning.", schema: counter, required: true},
				{name: api.QueryTo, summary: "The newer revision. Default: the current one.", schema: counter},
			},
			answers: []answer{{status: http.StatusOK, shape: api.Diff{}}},
			errors:  []api.ErrorType{api.TypeNotFound, api.TypeGone},
			handle:  s.diffRevisions,
		},
		{
			method: http.MethodPost, path: api.PathDiff, id: "diffApply",
			summary: "What an apply of the body would change.",
			body:    &body{many: true},
			answers: []answer{{status: http.StatusOK, shape: api.Diff{}}},
			errors:  []api.ErrorType{api.TypeInvalid, api.TypeTooLarge, api.TypeMediaType},
			handle:  s.diffApply,
		},
		{
			method: http.MethodPost, path: api.PathExplain, id: "explain",
			summary: "Which route of what is wanted of the nodes a request gets, and why no other.",
			body:    &body{shape: api.ExplainRequest{}},
			answers: []answer{{status: http.StatusOK, shape: api.Explanation{}}},
			errors:  []api.ErrorType{api.TypeTooLarge, api.TypeMediaType},
			handle:  s.explain,
		},
	}
}

func (s *Server) kindOperations(kind resource.KindInfo) []operation {
	collection := api.CollectionPath(kind.Plural)
	one := collection + "/:name"
	return []operation{
		{
			method: http.MethodGet, path: collection, id: "list" + kind.Kind,
			summary: "All resources of the kind, by name.",
			answers: []answer{{status: http.StatusOK, shape: api.ResourceList{}, kind: kind.Kind, tag: true}},
			errors:  []api.ErrorType{api.TypeAcceptable},
			handle:  s.list(kind.Kind),
		},
		{
			method: http.MethodGet, path: one, id: "get" + kind.Kind,
			summary: "One resource, as it was written.",
			answers: []answer{{status: http.StatusOK, kind: kind.Kind, tag: true}},
			errors:  []api.ErrorType{api.TypeNotFound, api.TypeAcceptable},
			handle:  s.get(kind.Kind),
		},
		{
			method: http.MethodPut, path: one, id: "put" + kind.Kind,
			summary: "Create or replace one resource.",
			query:   changeParameters(),
			headers: []parameter{
				ifMatch("hash of the resource"), authorHeader(),
				{name: "If-None-Match", summary: "*: create, never replace.", schema: object{"const": "*"}},
			},
			body: &body{kind: kind.Kind},
			answers: []answer{
				{status: http.StatusOK, shape: api.ApplyResult{}, tag: true},
				{status: http.StatusCreated, shape: api.ApplyResult{}, tag: true},
			},
			errors: changeErrors(api.TypeExists, api.TypeTooLarge, api.TypeMediaType),
			handle: s.put(kind.Kind),
		},
		{
			method: http.MethodDelete, path: one, id: "delete" + kind.Kind,
			summary: "Delete one resource that nothing refers to.",
			query:   changeParameters(), headers: []parameter{ifMatch("hash of the resource"), authorHeader()},
			answers: []answer{{status: http.StatusOK, shape: api.ApplyResult{}, tag: true}},
			errors:  changeErrors(api.TypeNotFound, api.TypeReferenced),
			handle:  s.remove(kind.Kind),
		},
	}
}

func (s *Server) nodeOperations() []operation {
	one := api.PathNodes + "/:id"
	return []operation{
		{
			method: http.MethodGet, path: api.PathNodes, id: "listNodes",
			summary: "All known nodes, by id.",
			answers: []answer{{status: http.StatusOK, shape: api.NodeList{}, kind: resource.Node}},
			errors:  []api.ErrorType{api.TypeAcceptable},
			handle:  s.listNodes,
		},
		{
			method: http.MethodGet, path: one, id: "getNode",
			summary: "One node: what is wanted of it, what it runs and why they differ.",
			answers: []answer{{status: http.StatusOK, shape: api.NodeStatus{}, kind: resource.Node, tag: true}},
			errors:  []api.ErrorType{api.TypeNotFound, api.TypeAcceptable},
			handle:  s.getNode,
		},
		{
			method: http.MethodPut, path: one, id: "putNode",
			summary: "Create or replace a node's labels and spec. They are fleet state: no revision is made, and no rollback touches them.",
			headers: []parameter{
				ifMatch("tag of the node"),
				{name: "If-None-Match", summary: "*: create, never replace.", schema: object{"const": "*"}},
			},
			body: &body{kind: resource.Node},
			answers: []answer{
				{status: http.StatusOK, shape: api.NodeStatus{}, tag: true},
				{status: http.StatusCreated, shape: api.NodeStatus{}, tag: true},
			},
			errors: []api.ErrorType{api.TypeInvalid, api.TypeStale, api.TypeExists, api.TypeConflict, api.TypeTooLarge, api.TypeMediaType},
			brief:  true, handle: s.putNode,
		},
		{
			method: http.MethodDelete, path: one, id: "deleteNode",
			summary: "Forget a node that is not connected.",
			answers: []answer{{status: http.StatusNoContent}},
			errors:  []api.ErrorType{api.TypeNotFound, api.TypeConflict},
			brief:   true, handle: s.deleteNode,
		},
	}
}

// processOperations are about the control plane rather than the fleet.
func (s *Server) processOperations() []operation {
	table := []operation{
		{
			method: http.MethodGet, path: api.PathStatus, id: "status",
			summary: "The fleet at a glance.",
			answers: []answer{{status: http.StatusOK, shape: api.Status{}, tag: true}},
			handle:  s.status,
		},
		{
			method: http.MethodGet, path: api.PathEvents, id: "events",
			summary: "Changes, and what happens to nodes, as it happens: server-sent events whose data is an Event.",
			answers: []answer{{status: http.StatusOK, media: api.MediaEvents, shape: api.Event{}}},
			errors:  []api.ErrorType{api.TypeAcceptable},
			stream:  true, handle: s.events,
		},
		{
			method: http.MethodGet, path: api.PathVersion, id: "version",
			summary: "The program that answers.",
			answers: []answer{{status: http.StatusOK, shape: api.Build{}}},
			handle:  s.build,
		},
		{
			method: http.MethodGet, path: api.PathOpenAPI, id: "openapi",
			summary: "This document.",
			answers: []answer{{status: http.StatusOK, media: api.MediaJSON}},
			handle:  s.openapi,
		},
		{
			method: http.MethodGet, path: api.PathHealth, id: "health",
			summary: "Whether the process answers.",
			answers: []answer{{status: http.StatusOK, shape: api.Health{}}},
			handle:  s.health,
		},
		{
			method: http.MethodGet, path: api.PathReady, id: "ready",
			summary: "Whether the control plane can do its work.",
			answers: []answer{{status: http.StatusOK, shape: api.Health{}}, {status: http.StatusServiceUnavailable, shape: api.Health{}}},
			handle:  s.ready,
		},
	}
	if s.cfg.Metrics == nil {
		return table
	}
	return append(table, operation{
		method: http.MethodGet, path: api.PathMetrics, id: "metrics",
		summary: "Metrics for Prometheus.",
		answers: []answer{{status: http.StatusOK, media: "text/plain"}},
		handle:  s.metrics,
	})
}

// template is the path as OpenAPI writes it: /v1/routes/{name}.
func (op operation) template() string {
	parts := strings.Split(op.path, "/")
	for i, part := range parts {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}
