package main

import (
	"log/slog"
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

	"github.com/proxyfleet/proxyfleet/proto/settings"
)

// Defaults of the flags.
const (
	defaultREST = "127.0.0.1:7400"
	defaultGRPC = "127.0.0.1:7401"
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

func (o *options) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("proxy-controlplane", pflag.ContinueOnError)
	f.SortFlags = false
	f.StringVar(&o.dataDir, "data-dir", defaultDataDir(), "`DIR` for everything that is kept: embedded etcd, its seal key, and the addresses in use")
	f.StringSliceVar(&o.etcdEndpoints, "etcd-endpoints", nil, "etcd to use, as `URL,URL`… (default: an embedded one in the data directory)")
	f.StringVar(&o.sealKeyFile, "seal-key-file", "", "`FILE` with the key under which private keys are kept in etcd (default: seal.key in the data directory; made with embedded etcd, else it must exist and be the same for all replicas)")
	f.StringVar(&o.restAddress, "rest-address", defaultREST, "`HOST:PORT` of the REST interface, for proxyctl; port 0 takes a free one")
	f.StringVar(&o.grpcAddress, "grpc-address", defaultGRPC, "`HOST:PORT` for nodes; port 0 takes a free one")
	f.BoolVar(&o.insecure, "insecure", false, "allow addresses other than loopback although nobody is authenticated yet")
	f.StringVar(&o.logLevel, "log-level", "info", "least `LEVEL` of messages: debug, info, warn, error")
	f.StringVar(&o.config, settings.ConfigFlag, "", "YAML `FILE` whose keys are the names of these flags")
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

// check refuses what cannot or must not work, before anything is started.
func (o *options) check() error {
	if o.dataDir == "" {
		return settings.Usage("--data-dir: expected a directory")
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
		return settings.Usage("--etcd-endpoints: %q: expected a URL such as http://10.0.0.1:2379", endpoint)
	case strings.HasPrefix(u.Scheme, "http") && !isPort(u.Port()):
		return settings.Usage("--etcd-endpoints: %q: expected a port from 1 to 65535, as in http://10.0.0.1:2379", endpoint)
	case u.User != nil:
		return settings.Usage("--etcd-endpoints: %s: user and password are not supported yet", u.Redacted())
	default:
		return nil
	}
}

// isPort reports whether one can connect to a port of that number.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// checkAddress refuses to be reachable from elsewhere while everybody who can
// reach the address may do everything.
func (o *options) checkAddress(flag, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return settings.Usage("--%s: %q: expected HOST:PORT", flag, address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return settings.Usage("--%s: %q: expected a port from 0 to 65535", flag, address)
	}
	if o.insecure {
		return nil
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return settings.Usage("--%s: %q is not a loopback address, and whoever reaches it may change everything: there is no authentication yet; "+
		"use 127.0.0.1 (and a tunnel), or say --insecure on a network you trust", flag, address)
}

func (o *options) level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return 0, settings.Usage("--log-level: %q: expected debug, info, warn or error", o.logLevel)
	}
	return level, nil
}
