package rest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// document writes the OpenAPI 3.1 document of the operations.
func document(operations []operation, build api.Build) ([]byte, error) {
	s := schemas{components: object{}}
	paths := object{}
	for _, op := range operations {
		item, ok := paths[op.template()].(object)
		if !ok {
			item = object{}
			paths[op.template()] = item
		}
		item[strings.ToLower(op.method)] = s.operation(op)
	}
	return json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{
			"title":       "proxyfleet control plane",
			"version":     build.Version,
			"description": "Resources are taken and given as JSON or YAML. A field with x-supported false is refused: its behaviour does not exist yet. x-since is the schema level at which it does.",
			"license":     object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"paths":      paths,
		"components": object{"schemas": s.components},
	})
}

func (s schemas) operation(op operation) object {
	out := object{
		"operationId": op.id,
		"summary":     op.summary,
		"responses":   s.responses(op),
	}
	var parameters []object
	for part := range strings.SplitSeq(op.path, "/") {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			parameters = append(parameters, object{"name": name, "in": "path", "required": true, "schema": text})
		}
	}
	for _, p := range op.query {
		parameters = append(parameters, p.object("query"))
	}
	for _, p := range op.headers {
		parameters = append(parameters, p.object("header"))
	}
	if parameters != nil {
		out["parameters"] = parameters
	}
	if op.body != nil {
		out["requestBody"] = s.requestBody(op.body)
	}
	return out
}

func (p parameter) object(in string) object {
	return object{"name": p.name, "in": in, "required": p.required, "description": p.summary, "schema": p.schema}
}

func (s schemas) requestBody(b *body) object {
	if b.shape != nil {
		return object{"required": !b.optional, "content": object{api.MediaJSON: object{"schema": s.shape(b.shape)}}}
	}
	schema := s.anyKind()
	if b.kind != "" {
		schema = s.kind(b.kind)
	}
	out := object{"required": true, "content": object{
		api.MediaJSON: object{"schema": schema},
		api.MediaYAML: object{"schema": schema},
		"text/yaml":   object{"schema": schema},
	}}
	if b.many {
		out["description"] = "One or more resources: YAML documents, or JSON objects one after another."
	}
	return out
}

// anyKind is a resource of any kind of the configuration.
func (s schemas) anyKind() object {
	var choices []object
	mapping := object{}
	for _, kind := range resource.Kinds() {
		if !kind.Configuration {
			continue
		}
		ref := s.kind(kind.Kind)
		choices = append(choices, ref)
		mapping[kind.Kind] = ref["$ref"]
	}
	return object{"oneOf": choices, "discriminator": object{"propertyName": "kind", "mapping": mapping}}
}

// responses are the answers and the errors of an operation, by status.
func (s schemas) responses(op operation) object {
	out := object{}
	for _, a := range op.answers {
		response := object{"description": http.StatusText(a.status)}
		if content := s.content(a); len(content) > 0 {
			response["content"] = content
		}
		if a.tag {
			response["headers"] = object{"ETag": object{"schema": text}}
		}
		out[strconv.Itoa(a.status)] = response
	}
	titles := map[int][]string{}
	for _, t := range op.allErrors() {
		titles[t.Status()] = append(titles[t.Status()], t.Title())
	}
	for status, list := range titles {
		code := strconv.Itoa(status)
		response, ok := out[code].(object)
		if !ok {
			response = object{"description": strings.Join(list, " ")}
			out[code] = response
		}
		content, ok := response["content"].(object)
		if !ok {
			content = object{}
			response["content"] = content
		}
		content[api.MediaProblem] = object{"schema": s.shape(api.Error{})}
	}
	return out
}

// allErrors adds to an operation's errors those that any request may meet.
func (op operation) allErrors() []api.ErrorType {
	list := append([]api.ErrorType{
		api.TypeMalformed, api.TypeForbidden, api.TypeInternal, api.TypeUnavailable, api.TypeTimeout,
	}, op.errors...)
	slices.Sort(list)
	return slices.Compact(list)
}

func (s schemas) content(a answer) object {
	content := object{}
	switch {
	case a.media == api.MediaJSON:
		content[a.media] = object{"schema": object{"type": "object"}}
	case a.media != "" && a.shape != nil:
		content[a.media] = object{"schema": text, "x-data": s.shape(a.shape)}
	case a.media != "":
		content[a.media] = object{"schema": text}
	case a.shape != nil:
		content[api.MediaJSON] = object{"schema": s.shape(a.shape)}
	case a.kind != "":
		content[api.MediaJSON] = object{"schema": s.kind(a.kind)}
	}
	if a.kind != "" {
		content[api.MediaYAML] = object{"schema": s.kind(a.kind)}
	}
	return content
}
