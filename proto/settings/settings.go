// Package settings completes a program's flags from the environment and from a
// YAML file. A flag wins over a variable, a variable over the file:
//
//	--data-dir DIR    PROXYFLEET_DATA_DIR=DIR    data-dir: DIR
//
// Nothing is ignored: unknown keys, keys that stand twice and values of the wrong
// form are refused, naming where they stand. Variables that nobody reads are told:
// an environment has many authors.
package settings

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/proxyfleet/proxyfleet/proto/resource"
)

const (
	// EnvPrefix begins the names of the variables.
	EnvPrefix = "PROXYFLEET_"
	// ConfigFlag names the flag of the file itself, which has no variable and no key.
	ConfigFlag = "config"
	// maxFile bounds the file.
	maxFile = 1 << 20
)

// ErrUsage marks what the caller did wrong, as against what went wrong.
var ErrUsage = errors.New("wrong use")

// Usage is an error of the caller.
func Usage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUsage}, args...)...)
}

// Fill sets the flags that the command line left open. The file is the value of
// the flag named ConfigFlag; empty: none.
func Fill(f *pflag.FlagSet, getenv func(string) (string, bool)) error {
	path := ""
	if flag := f.Lookup(ConfigFlag); flag != nil {
		path = flag.Value.String()
	}
	file, err := read(path)
	if err != nil {
		return err
	}
	known := settable(f)
	for _, key := range slices.Sorted(maps.Keys(file)) {
		if !slices.Contains(known, key) {
			if near := resource.Nearest(key, known); near != "" {
				return Usage("--config: %s: unknown key %q (did you mean %q?)", path, key, near)
			}
			return Usage("--config: %s: unknown key %q: expected one of %s", path, key, strings.Join(known, ", "))
		}
	}
	for _, name := range known {
		if f.Lookup(name).Changed {
			continue
		}
		variable := Variable(name)
		if text, ok := getenv(variable); ok {
			if err := f.Set(name, text); err != nil {
				return Usage("%s: %v", variable, valueError(err))
			}
			continue
		}
		if value, ok := file[name]; ok {
			if err := set(f, name, value); err != nil {
				return Usage("--config: %s: %s: %v", path, name, valueError(err))
			}
		}
	}
	return nil
}

// settable are the flags that variables and the file can set.
func settable(f *pflag.FlagSet) []string {
	var names []string
	f.VisitAll(func(flag *pflag.Flag) {
		if !slices.Contains([]string{ConfigFlag, "help", "version"}, flag.Name) {
			names = append(names, flag.Name)
		}
	})
	return names
}

// read reads the file; no name is an empty file.
func read(name string) (map[string]any, error) {
	if name == "" {
		return nil, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, Usage("--config: %v", err)
	}
	if info.Size() > maxFile {
		return nil, Usage("--config: %s: expected at most %d bytes", name, maxFile)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, Usage("--config: %v", err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		return nil, Usage("--config: %s: %s", name, strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "))
	}
	return values, nil
}

// set sets a flag from a value of the file. Lists, and the pairs of a map, are
// joined as the command line takes them.
func set(f *pflag.FlagSet, name string, value any) error {
	kind := f.Lookup(name).Value.Type()
	switch v := value.(type) {
	case string:
		return f.Set(name, v)
	case bool:
		return f.Set(name, strconv.FormatBool(v))
	case float64: // every YAML number arrives as one
		return f.Set(name, strconv.FormatFloat(v, 'f', -1, 64))
	case []any:
		if kind != "stringSlice" {
			return fmt.Errorf("got a list, expected one value")
		}
		items := make([]string, 0, len(v))
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return fmt.Errorf("got %v in the list, expected texts", item)
			}
			items = append(items, text)
		}
		return f.Set(name, strings.Join(items, ","))
	case map[string]any:
		if kind != "stringToString" {
			return fmt.Errorf("got a map, expected one value")
		}
		var pairs []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			text, ok := v[key].(string)
			if !ok {
				return fmt.Errorf("got %v for %q, expected a text", v[key], key)
			}
			pairs = append(pairs, key+"="+text)
		}
		return f.Set(name, strings.Join(pairs, ","))
	}
	return fmt.Errorf("got %v, expected a text", value)
}
