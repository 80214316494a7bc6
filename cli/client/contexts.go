package client

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/proxyfleet/proxyfleet/proto/durable"
)

// DefaultServer is where a control plane listens when nobody says otherwise.
const DefaultServer = "http://127.0.0.1:7400"

// maxContextFile bounds what is read of a context file: thousands of contexts
// fit, a wrong file does not fill the memory.
const maxContextFile = 1 << 20

// ErrNoContext says that the named context does not exist.
var ErrNoContext = errors.New("no such context")

// Context names one control plane.
type Context struct {
	Name   string `json:"name"`
	Server string `json:"server"`
}

// Contexts is the content of a context file. The zero value is an empty one.
type Contexts struct {
	// Current is the context that is used when none is named; it may be empty.
	Current  string    `json:"current,omitempty"`
	Contexts []Context `json:"contexts,omitempty"`
}

// ReadContexts reads a context file. A file that does not exist holds no
// contexts. Unknown fields, duplicate names and bad addresses are refused.
func ReadContexts(path string) (Contexts, error) {
	data, err := readBounded(path, maxContextFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Contexts{}, nil
	}
	if err != nil {
		return Contexts{}, fmt.Errorf("context file: %w", err)
	}
	var c Contexts
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Contexts{}, fmt.Errorf("context file %s: %w", path, err)
	}
	if err := c.check(); err != nil {
		return Contexts{}, fmt.Errorf("context file %s: %w", path, err)
	}
	return c, nil
}

// Write replaces the file as a whole, so that a reader sees the old or the new
// one; only its owner can read it.
func (c Contexts) Write(path string) error {
	if err := c.check(); err != nil {
		return err
	}
	data, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("context file %s: %w", path, err)
	}
	if err := durable.Replace(path, data, nil); err != nil {
		return fmt.Errorf("context file: %w", err)
	}
	return nil
}

// Get is the named context.
func (c Contexts) Get(name string) (Context, error) {
	for _, x := range c.Contexts {
		if x.Name == name {
			return x, nil
		}
	}
	return Context{}, fmt.Errorf("context %q: %w", name, ErrNoContext)
}

// Set adds the context or replaces the one of its name. The first one becomes
// the current one.
func (c *Contexts) Set(x Context) {
	if len(c.Contexts) == 0 {
		c.Current = x.Name
	}
	for i := range c.Contexts {
		if c.Contexts[i].Name == x.Name {
			c.Contexts[i] = x
			return
		}
	}
	c.Contexts = append(c.Contexts, x)
}

// Delete removes the named context; if it was the current one, none is.
func (c *Contexts) Delete(name string) error {
	for i := range c.Contexts {
		if c.Contexts[i].Name == name {
			c.Contexts = append(c.Contexts[:i:i], c.Contexts[i+1:]...)
			if c.Current == name {
				c.Current = ""
			}
			return nil
		}
	}
	return fmt.Errorf("context %q: %w", name, ErrNoContext)
}

func (c Contexts) check() error {
	seen := make(map[string]bool, len(c.Contexts))
	for _, x := range c.Contexts {
		if x.Name == "" || strings.ContainsAny(x.Name, " \t\r\n") {
			return fmt.Errorf("context %q: a name has one or more characters and no blanks", x.Name)
		}
		if seen[x.Name] {
			return fmt.Errorf("context %q: named twice", x.Name)
		}
		seen[x.Name] = true
		if _, err := ParseServer(x.Server); err != nil {
			return fmt.Errorf("context %q: %w", x.Name, err)
		}
	}
	if c.Current != "" && !seen[c.Current] {
		return fmt.Errorf("current context %q: %w", c.Current, ErrNoContext)
	}
	return nil
}

// ParseServer reads a server's address: an http or https URL with a host, and
// at most a path in front of /v1.
func ParseServer(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil && strings.Contains(s, "://") {
		return nil, fmt.Errorf("server %q: %w", s, errors.Unwrap(err))
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("server %q: expected a URL such as %s", s, DefaultServer)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("server %q: expected no query, fragment or user in the URL", s)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, expected at most %d", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}
