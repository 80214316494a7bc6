package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// Defaults of the flags.
const (
	defaultREST = "127.0.0.1:7400"
	defaultGRPC = "127.0.0.1:7401"
	envPrefix   = "PROXYFLEET_"
	// maxConfig bounds the configuration file.
	maxConfig = 1 << 20
)

// options are what flags, variables and the configuration file say.
type options struct {
	config        string
	dataDir       string
	etcdEndpoints []string
	sealKeyFile   string
	restAddress   string
	grpcAddress   string
	insecure      bool
	logLevel      string
}

// errUsage marks what the caller did wrong, as against what went wrong.
var errUsage = errors.New("wrong use")

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

func (o *options) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("proxy-controlplane", pflag.ContinueOnError)
	f.SortFlags = false
	f.StringVar(&o.dataDir, "data-dir", defaultDataDir(), "`DIR` for everything that is kept: embedded etcd, and the addresses in use")
	f.StringSliceVar(&o.etcdEndpoints, "etcd-endpoints", nil, "etcd to use, as `URL,URL`… (default: an embedded one in the data directory)")
	f.StringVar(&o.restAddress, "rest-address", defaultREST, "`HOST:PORT` of the REST interface, for proxyctl; port 0 takes a free one")
	f.StringVar(&o.grpcAddress, "grpc-address", defaultGRPC, "`HOST:PORT` for nodes; port 0 takes a free one")
	f.BoolVar(&o.insecure, "insecure", false, "allow addresses other than loopback although nobody is authenticated yet")
	f.StringVar(&o.logLevel, "log-level", "info", "least `LEVEL` of messages: debug, info, warn, error")
	f.StringVar(&o.config, "config", "", "YAML `FILE` whose keys are the names of these flags")
	f.StringVar(&o.sealKeyFile, "seal-key-file", "", "not supported yet")
	if err := f.MarkHidden("seal-key-file"); err != nil {
		panic(err) // the line above defines it
	}
	return f
}

// defaultDataDir is where a service keeps its state, or a person's programs theirs.
func defaultDataDir() string {
	if runtime.GOOS == "linux" && os.Geteuid() == 0 {
		return "/var/lib/proxyfleet/controlplane"
	}
	base, err := os.UserConfigDir()
	if err != nil {
		base = "."
	}
	return filepath.Join(base, "proxyfleet", "controlplane")
}

// fill completes what the command line left open: from the environment, then
// from the configuration file.
func (o *options) fill(f *pflag.FlagSet, getenv func(string) (string, bool)) error {
	file, err := readConfig(o.config)
	if err != nil {
		return err
	}
	known := settable(f)
	for _, key := range slices.Sorted(maps.Keys(file)) {
		if !slices.Contains(known, key) {
			return usage("%s: unknown key %q: expected one of %s", o.config, key, strings.Join(known, ", "))
		}
	}
	var problem error
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed || !slices.Contains(known, flag.Name) || problem != nil {
			return
		}
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		if text, ok := getenv(name); ok {
			if err := f.Set(flag.Name, text); err != nil {
				problem = usage("%s: %v", name, err)
			}
			return
		}
		if value, ok := file[flag.Name]; ok {
			if err := setFromFile(f, flag.Name, value); err != nil {
				problem = usage("%s: %s: %v", o.config, flag.Name, err)
			}
		}
	})
	return problem
}

// settable are the flags that variables and the file can set.
func settable(f *pflag.FlagSet) []string {
	var names []string
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "config" && flag.Name != "help" {
			names = append(names, flag.Name)
		}
	})
	return names
}

// readConfig reads the configuration file; none is an empty one.
func readConfig(name string) (map[string]any, error) {
	if name == "" {
		return nil, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, usage("--config: %v", err)
	}
	if info.Size() > maxConfig {
		return nil, usage("--config: %s: expected at most %d bytes", name, maxConfig)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usage("--config: %v", err)
	}
	var values map[string]any
	// Strict: a key that stands twice is refused.
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		return nil, usage("--config: %s: %v", name, err)
	}
	return values, nil
}

// setFromFile sets a flag from a value of the file. Lists are joined as the
// command line takes them.
func setFromFile(f *pflag.FlagSet, name string, value any) error {
	list := f.Lookup(name).Value.Type() == "stringSlice"
	switch v := value.(type) {
	case string:
		return f.Set(name, v)
	case bool:
		return f.Set(name, strconv.FormatBool(v))
	case []any:
		if !list {
			return fmt.Errorf("got a list, expected one value")
		}
		var items []string
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return fmt.Errorf("got %v in the list, expected texts", item)
			}
			items = append(items, text)
		}
		return f.Set(name, strings.Join(items, ","))
	default:
		return fmt.Errorf("got %v, expected a text", value)
	}
}

// check refuses what cannot or must not work, before anything is started.
func (o *options) check() error {
	if o.sealKeyFile != "" {
		return usage("--seal-key-file: not supported yet: nothing is sealed before certificates are")
	}
	if o.dataDir == "" {
		return usage("--data-dir: expected a directory")
	}
	for _, endpoint := range o.etcdEndpoints {
		if err := checkEndpoint(endpoint); err != nil {
			return err
		}
	}
	if err := o.checkAddress("rest-address", o.restAddress); err != nil {
		return err
	}
	if err := o.checkAddress("grpc-address", o.grpcAddress); err != nil {
		return err
	}
	if _, err := o.level(); err != nil {
		return err
	}
	return nil
}

func checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || !slices.Contains([]string{"http", "https", "unix", "unixs"}, u.Scheme) || u.Host == "" && u.Path == "":
		return usage("--etcd-endpoints: %q: expected a URL such as http://10.0.0.1:2379", endpoint)
	case u.User != nil:
		return usage("--etcd-endpoints: %s: user and password are not supported yet", u.Redacted())
	default:
		return nil
	}
}

// checkAddress refuses to be reachable from elsewhere while everybody who can
// reach the address may do everything.
func (o *options) checkAddress(flag, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return usage("--%s: %q: expected HOST:PORT", flag, address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return usage("--%s: %q: expected a port from 0 to 65535", flag, address)
	}
	if o.insecure {
		return nil
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return usage("--%s: %q is not a loopback address, and whoever reaches it may change everything: there is no authentication yet; "+
		"use 127.0.0.1 (and a tunnel), or say --insecure on a network you trust", flag, address)
}

func (o *options) level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return 0, usage("--log-level: %q: expected debug, info, warn or error", o.logLevel)
	}
	return level, nil
}
