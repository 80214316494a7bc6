package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// Stray says of each variable of the environment that begins with EnvPrefix and that no
// program reads what it was probably meant to be. besides are variables that are no
// flag's.
//
// The programs share their prefix, and often one file of variables: what is another
// program's is not stray. Neither is what Kubernetes makes of a Service whose name
// begins with proxyfleet.
func Stray(environment []string, besides ...string) []string {
	var told []string
	for _, entry := range environment {
		variable, value, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(variable, EnvPrefix)
		name := strings.ToLower(strings.ReplaceAll(rest, "_", "-"))
		switch {
		case !ours, variable == Variable(name) && slices.Contains(flagNames(), name):
		case slices.Contains(besides, variable), ofService.MatchString(rest), strings.HasPrefix(value, "tcp://"), strings.HasPrefix(value, "udp://"):
		case name == ConfigFlag:
			told = append(told, variable+" is not read: only --config names the file")
		default:
			text := variable + " is not read: no flag has this variable"
			if near := resource.Nearest(rest, flagNames()); near != "" {
				text += fmt.Sprintf(" (did you mean %s?)", Variable(near))
			}
			told = append(told, text)
		}
	}
	slices.Sort(told)
	return told
}

// ofService are the variables of a Service whose value is no URL.
var ofService = regexp.MustCompile(`(^|_)(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$`)

// Variable is the variable of a flag.
func Variable(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// flagNames are the flags of all programs that have variables. settingstest.Documented
// tells which is missing.
func flagNames() []string {
	return []string{
		// proxy-controlplane
		"data-dir", "etcd-endpoints", "seal-key-file", "rest-address", "grpc-address", "insecure", "log-level",
		// proxy-dataplane
		"node-id", "control-plane", "resources", "state-dir", "listen-address", "admin-address", "labels", "loops", "no-io-uring",
		"access-log", "access-log-max-size", "access-log-keep", "memory-limit", "drain-timeout",
		"gossip-address", "gossip-join", "gossip-key-file", "witness",
		// proxy-dataplane upgrade, and export
		"binary", "timeout", "to",
	}
}
