package rest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// openAPI is the document as a client reads it.
type openAPI struct {
	OpenAPI    string                          `json:"openapi"`
	Paths      map[string]map[string]described `json:"paths"`
	Components struct {
		Schemas map[string]object `json:"schemas"`
	} `json:"components"`
}

type described struct {
	OperationID string `json:"operationId"`
	Responses   map[string]struct {
		Content map[string]struct {
			Schema object `json:"schema"`
		} `json:"content"`
	} `json:"responses"`
}

func readOpenAPI(t *testing.T, text []byte) *openAPI {
	t.Helper()
	d := new(openAPI)
	if err := json.Unmarshal(text, d); err != nil {
		t.Fatal(err)
	}
	return d
}

// find is the operation of a request, by the templates of the document.
func (d *openAPI) find(method, path string) (described, bool) {
	for _, exact := range []bool{true, false} {
		for template, item := range d.Paths {
			op, ok := item[strings.ToLower(method)]
			if ok && matches(template, path, exact) {
				return op, true
			}
		}
	}
	return described{}, false
}

func matches(template, path string, exact bool) bool {
	if exact {
		return template == path
	}
	t, p := strings.Split(template, "/"), strings.Split(path, "/")
	return slices.EqualFunc(t, p, func(t, p string) bool { return t == p || strings.HasPrefix(t, "{") && p != "" })
}

// check holds an answer against the document: status, media type and schema.
func (d *openAPI) check(method, path string, a answered) error {
	op, ok := d.find(method, path)
	if !ok {
		if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed && a.status != http.StatusForbidden {
			return fmt.Errorf("%s %s is not documented and answered %d", method, path, a.status)
		}
		return nil
	}
	response, ok := op.Responses[strconv.Itoa(a.status)]
	if !ok {
		return fmt.Errorf("%s: status %d is not documented", op.OperationID, a.status)
	}
	if len(response.Content) == 0 && len(a.body) == 0 {
		return nil
	}
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("%s: content type: %w", op.OperationID, err)
	}
	content, ok := response.Content[media]
	if !ok {
		return fmt.Errorf("%s: %d as %s is not documented", op.OperationID, a.status, media)
	}
	if media != api.MediaJSON && media != api.MediaProblem {
		return nil
	}
	var value any
	if err := json.Unmarshal(a.body, &value); err != nil {
		return fmt.Errorf("%s: %w", op.OperationID, err)
	}
	if err := d.valid(content.Schema, value, "$"); err != nil {
		return fmt.Errorf("%s: %d: %w", op.OperationID, a.status, err)
	}
	return nil
}

// valid is as much of JSON Schema as the document uses.
func (d *openAPI) valid(schema object, value any, at string) error {
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		target, ok := d.Components.Schemas[name]
		if !ok {
			return fmt.Errorf("%s: no schema %q", at, name)
		}
		return d.valid(target, value, at)
	}
	if choices, ok := schema["oneOf"].([]any); ok {
		fits := 0
		for _, choice := range choices {
			if d.valid(choice.(object), value, at) == nil {
				fits++
			}
		}
		if fits != 1 {
			return fmt.Errorf("%s: fits %d of %d choices", at, fits, len(choices))
		}
	}
	if c, ok := schema["const"]; ok && c != value {
		return fmt.Errorf("%s: %v is not %v", at, value, c)
	}
	if e, ok := schema["enum"].([]any); ok && !slices.Contains(e, value) {
		return fmt.Errorf("%s: %v is none of %v", at, value, e)
	}
	if err := validType(schema["type"], value, at); err != nil {
		return err
	}
	switch v := value.(type) {
	case string:
		if p, ok := schema["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(v) {
			return fmt.Errorf("%s: %q does not match %s", at, v, p)
		}
	case float64:
		low, hasLow := schema["minimum"].(float64)
		high, hasHigh := schema["maximum"].(float64)
		if hasLow && v < low || hasHigh && v > high {
			return fmt.Errorf("%s: %v is not in %v…%v", at, v, schema["minimum"], schema["maximum"])
		}
	case []any:
		if low, ok := schema["minItems"].(float64); ok && float64(len(v)) < low {
			return fmt.Errorf("%s: %d items", at, len(v))
		}
		for i, item := range v {
			if err := d.valid(schema["items"].(object), item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case object:
		return d.validObject(schema, v, at)
	}
	return nil
}

func (d *openAPI) validObject(schema, v object, at string) error {
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%s: %v is missing", at, name)
		}
	}
	properties, _ := schema["properties"].(object)
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if property, ok := properties[name].(object); ok {
			if err := d.valid(property, v[name], at+"."+name); err != nil {
				return err
			}
			continue
		}
		switch more := schema["additionalProperties"].(type) {
		case object:
			if err := d.valid(more, v[name], at+"."+name); err != nil {
				return err
			}
		case bool:
			return fmt.Errorf("%s: %s is not known", at, name)
		default:
			if properties != nil {
				return fmt.Errorf("%s: %s is not documented", at, name)
			}
		}
	}
	return nil
}

func validType(t, value any, at string) error {
	var kinds []any
	switch t := t.(type) {
	case nil:
		return nil
	case string:
		kinds = []any{t}
	case []any:
		kinds = t
	}
	is := ""
	switch v := value.(type) {
	case string:
		is = "string"
	case bool:
		is = "boolean"
	case float64:
		is = "number"
		if v == math.Trunc(v) && slices.Contains(kinds, any("integer")) {
			is = "integer"
		}
	case []any:
		is = "array"
	case object:
		is = "object"
	}
	if !slices.Contains(kinds, any(is)) {
		return fmt.Errorf("%s: %v is no %v", at, value, t)
	}
	return nil
}

func TestTheDocumentAndTheRoutesAreTheSame(t *testing.T) {
	f := newFleet(t)
	d := readOpenAPI(t, f.do("GET", api.PathOpenAPI, "").body)
	if d.OpenAPI != "3.1.0" {
		t.Errorf("openapi %q", d.OpenAPI)
	}
	documented := map[string]bool{}
	ids := map[string]bool{}
	for path, item := range d.Paths {
		for method, op := range item {
			documented[strings.ToUpper(method)+" "+path] = true
			if ids[op.OperationID] || op.OperationID == "" {
				t.Errorf("operationId %q twice", op.OperationID)
			}
			ids[op.OperationID] = true
		}
	}
	parameter := regexp.MustCompile(`:(\w+)`)
	for _, route := range f.server.engine.Routes() {
		key := route.Method + " " + parameter.ReplaceAllString(route.Path, "{$1}")
		if !documented[key] {
			t.Errorf("%s is a route and not in the document", key)
		}
		delete(documented, key)
	}
	for key := range documented {
		t.Errorf("%s is in the document and no route", key)
	}
	// The contract in package api names these; a server without one is broken.
	for _, kind := range resource.Kinds() {
		if _, ok := d.find("PUT", api.ResourcePath(kind.Plural, "x")); !ok {
			t.Errorf("no PUT of a %s", kind.Kind)
		}
	}
}

func TestTheDocumentDescribesResourcesAsTheyAreTaken(t *testing.T) {
	f := newFleet(t)
	d := readOpenAPI(t, f.do("GET", api.PathOpenAPI, "").body)
	schemas := d.Components.Schemas
	check := func(text string) error {
		docs, problems := resource.Decode([]byte(text), resource.DecodeOptions{})
		if len(docs) != 1 || docs[0].Resource == nil {
			t.Fatalf("%v in %s", problems, text)
		}
		printed, err := resource.AppendJSON(nil, docs[0].Resource)
		if err != nil {
			t.Fatal(err)
		}
		var value object
		if err := json.Unmarshal(printed, &value); err != nil {
			t.Fatal(err)
		}
		return d.valid(schemas[docs[0].Key.Kind], value, docs[0].Key.String())
	}
	for _, name := range []string{"first.yaml", "shop.yaml"} {
		for text := range strings.SplitSeq(example(t, name), "\n---\n") {
			if err := check(text); err != nil {
				t.Error(err)
			}
		}
	}
	for text, says := range map[string]string{
		"kind: Listener\nname: a\nspec: {port: 70000, protocol: HTTP}":                 "spec.port",
		"kind: Upstream\nname: a\nspec: {endpoints: []}":                               "endpoints",
		"kind: Listener\nname: a\nspec: {port: 80}":                                    "protocol is missing",
		"kind: Route\nname: a\nspec: {respond: {status: 200}, match: {headers: [{}]}}": "name is missing",
		"kind: Route\nname: a\nspec: {respond: {status: 99}}":                          "spec.respond.status",
	} {
		if err := check(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want something about %q", text, err, says)
		}
	}

	listener := schemas["fleet.v1.Listener"]["properties"].(object)
	if port := listener["port"].(object); port["minimum"] != 1.0 || port["maximum"] != 65535.0 || port["x-since"] != 1.0 {
		t.Errorf("port %v", port)
	}
	if mirror := schemas["fleet.v1.Route"]["properties"].(object)["mirror"].(object); mirror["x-supported"] != false {
		t.Errorf("mirror %v", mirror)
	}
	if p := listener["protocol"].(object); !slices.Equal(p["enum"].([]any), []any{"HTTP", "HTTPS", "TCP", "TLS_PASSTHROUGH"}) {
		t.Errorf("protocol %v", p)
	}
	route := schemas["fleet.v1.RouteTimeouts"]["properties"].(object)["request"].(object)
	if route["x-format"] != "DURATION" || route["x-maximum"] != "24h0m0s" {
		t.Errorf("timeout %v", route)
	}
	if schemas["RateLimit"]["x-supported"] != false || schemas["Route"]["x-since"] != 1.0 {
		t.Errorf("kinds %v %v", schemas["RateLimit"]["x-supported"], schemas["Route"]["x-since"])
	}
	if _, ok := schemas["fleet.v1.Certificate"]["properties"].(object)["chainFile"]; ok {
		t.Error("fields of files are in the document")
	}
}
