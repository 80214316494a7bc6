package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// shortNames returns what people may type for a kind, besides its name and
// plural in any case.
func shortNames() map[string][]string {
	return map[string][]string{
		resource.Listener:      {"l", "lis"},
		resource.Route:         {"r", "rt"},
		resource.Policy:        {"p", "pol"},
		resource.Upstream:      {"u", "up", "us"},
		resource.RateLimit:     {"rl"},
		resource.VirtualIP:     {"vip", "vips"},
		resource.Certificate:   {"c", "cert", "certs"},
		resource.RolloutPolicy: {"rp"},
		resource.Node:          {"n", "no"},
	}
}

// parseKind finds the kind that a word names.
func parseKind(word string) (resource.KindInfo, error) {
	w := strings.ToLower(word)
	short := shortNames()
	for _, k := range resource.Kinds() {
		if w == strings.ToLower(k.Kind) || w == k.Plural || slices.Contains(short[k.Kind], w) {
			return k, nil
		}
	}
	names := plurals()
	text := "expected one of " + strings.Join(names, ", ")
	for _, k := range resource.Kinds() {
		names = append(names, strings.ToLower(k.Kind))
	}
	if near := resource.Nearest(w, names); near != "" {
		text += fmt.Sprintf(" (did you mean %q?)", near)
	}
	return resource.KindInfo{}, wrongUse("kind %q: %s", word, text)
}

func plurals() []string {
	var names []string
	for _, k := range resource.Kinds() {
		names = append(names, k.Plural)
	}
	return names
}

// object names one resource, or with an empty name all of a kind.
type object struct {
	kind resource.KindInfo
	name string
}

func (o object) String() string { return o.kind.Kind + "/" + o.name }

// parseObjects reads "route api front", "route/api upstream/front" and "routes".
// With a bare kind, the words after it are names; without, each is kind/name.
func parseObjects(args []string) ([]object, error) {
	if len(args) == 0 {
		return nil, wrongUse("expected KIND NAME… or KIND/NAME…")
	}
	if !strings.Contains(args[0], "/") {
		kind, err := parseKind(args[0])
		if err != nil {
			return nil, err
		}
		if len(args) == 1 {
			return []object{{kind: kind}}, nil
		}
		var objects []object
		for _, name := range args[1:] {
			if name == "" || strings.Contains(name, "/") {
				return nil, wrongUse("%q: expected a name, since %q comes first", name, args[0])
			}
			objects = append(objects, object{kind, name})
		}
		return objects, nil
	}
	var objects []object
	for _, arg := range args {
		word, name, ok := strings.Cut(arg, "/")
		if !ok || name == "" {
			return nil, wrongUse("%q: expected KIND/NAME", arg)
		}
		kind, err := parseKind(word)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object{kind, name})
	}
	return objects, nil
}

// parseNamed is parseObjects where every object must have a name.
func parseNamed(args []string) ([]object, error) {
	objects, err := parseObjects(args)
	if err != nil {
		return nil, err
	}
	if objects[0].name == "" {
		return nil, wrongUse("%s: expected a name: %s NAME or %s/NAME", objects[0].kind.Plural, args[0], args[0])
	}
	return objects, nil
}

// parseOne is parseNamed for exactly one object.
func parseOne(args []string) (object, error) {
	objects, err := parseNamed(args)
	if err != nil {
		return object{}, err
	}
	if len(objects) != 1 {
		return object{}, wrongUse("expected one resource, got %d", len(objects))
	}
	return objects[0], nil
}
