package resource

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// maxSuggest bounds the length of what suggestions are made for: distances cost
// the product of two lengths, and nobody mistypes a long string.
const maxSuggest = 64

// Nearest is the candidate that s was probably meant to be, or "": the same but
// for case, "-" and "_", else the one with the least edit distance, at most a
// third of its length.
func Nearest(s string, candidates []string) string {
	if s == "" || len(s) > maxSuggest {
		return ""
	}
	folded := fold(s)
	best, bestDistance := "", 0
	for _, c := range candidates {
		if c == s || len(c) > maxSuggest {
			continue
		}
		fc := fold(c)
		if fc == folded {
			return c
		}
		limit := max(1, (len(fc)+1)/3)
		if best != "" {
			limit = min(limit, bestDistance-1)
		}
		if d, ok := distance(folded, fc, limit); ok {
			best, bestDistance = c, d
		}
	}
	return best
}

// sameFolded is the candidate that differs from s only in what fold drops.
func sameFolded(s string, candidates []string) string {
	for _, c := range candidates {
		if fold(c) == fold(s) {
			return c
		}
	}
	return ""
}

// fold drops what people get wrong without noticing.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("-_ .“”„‘’", r) { // quotes too that only typesetters use
			return -1
		}
		return r
	}, strings.ToLower(s))
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b; not ok if it is more than limit.
func distance(a, b string, limit int) (d int, ok bool) {
	if limit < 0 || len(a)-len(b) > limit || len(b)-len(a) > limit {
		return 0, false
	}
	var rows [3][maxSuggest + 1]int
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > limit {
			return 0, false
		}
		before, last, row = last, row, before
	}
	return last[len(b)], last[len(b)] <= limit
}

// fieldHints is what people who know other proxies write for a field of a
// message, by where that stands here. The names are folded. Paths begin at the
// document.
var fieldHints = map[string]map[string]string{
	"Resource": {
		"name and labels at the top of the document": "metadata",
		"kind":   "type",
		"name":   "id",
		"labels": "tags annotations",
		"documents of their own, with lines of --- between them": "items resources",
	},
	"Route": {
		"forward":            "upstream upstreams backend backends backendrefs service services cluster proxypass to targets",
		"hosts":              "host hostname hostnames domain domains servername vhost virtualhost",
		"listeners":          "listener entrypoints gateways parentrefs",
		"match":              "rules matches when conditions",
		"respond":            "return directresponse response fixedresponse",
		"timeouts":           "timeout",
		"retry":              "retries retrypolicy",
		"rateLimits":         "ratelimit limits",
		"rewrite":            "stripprefix urlrewrite prefixrewrite",
		"spec.match.path":    "path prefix exact regex uri location pathprefix",
		"spec.match.headers": "header headers",
	},
	"Match": {
		"path":        "uri url prefix exact regex",
		"methods":     "method",
		"headers":     "header",
		"query":       "queryparams params querystring",
		"clientCIDRs": "clientip sourceip cidr ip",
	},
	"PathMatch": {
		"exact":  "equals value is",
		"prefix": "startswith beginswith pathprefix",
		"regex":  "pattern regexp matches saferegex",
	},
	"HeaderMatch": {
		"exact":   "equals value is",
		"prefix":  "startswith beginswith pathprefix",
		"regex":   "pattern regexp matches saferegex",
		"present": "exists",
		"invert":  "not",
	},
	"QueryMatch": {
		"exact":   "equals value is",
		"prefix":  "startswith beginswith pathprefix",
		"regex":   "pattern regexp matches saferegex",
		"present": "exists",
		"invert":  "not",
	},
	"Upstream": {
		"endpoints":             "servers server hosts backends targets addresses members nodes",
		"loadBalancing":         "lb balance lbpolicy balancing algorithm loadbalancer",
		"healthCheck":           "health check healthchecks readiness",
		"circuitBreaker":        "breaker circuitbreakers",
		"timeouts":              "timeout connecttimeout",
		"pool, or tcpKeepAlive": "keepalive",
		"outlierDetection":      "outlier outliers",
	},
	"Endpoint": {
		"address": "host ip addr url server target hostport port socketaddress",
	},
	"Listener": {
		"addresses": "bind address host ip",
		"timeouts":  "timeout",
		"tls":       "certificates certs ssl",
		"protocol":  "type mode",
	},
	"Redirect": {
		"status":                "code statuscode",
		"scheme, host and path": "to location url uri",
	},
	"Respond": {
		"status": "code statuscode",
		"body":   "content text data",
	},
	"RateLimit": {
		"rate": "limit requests qps rps",
		"key":  "by per",
	},
	"Forward": {
		"upstream": "name backend service cluster to",
	},
	"VirtualIP": {
		"address":   "ip vip addr",
		"interface": "dev device iface nic",
	},
}

// fieldHint is where a field that another proxy calls name stands here, or "".
func fieldHint(message, name string) string {
	name = fold(name)
	for here, elsewhere := range fieldHints[message] {
		if slices.Contains(strings.Fields(elsewhere), name) {
			return here
		}
	}
	return ""
}

// kindHint is the kind that people who know other proxies mean.
func kindHint(kind string) string {
	switch fold(kind) {
	case "backend", "cluster", "service", "pool", "target", "targetgroup", "servers", "up":
		return Upstream
	case "frontend", "gateway", "server", "entrypoint", "port":
		return Listener
	case "ingress", "httproute", "virtualhost", "virtualserver", "virtualservice", "location", "rule", "path":
		return Route
	case "vip", "floatingip", "vrrpinstance", "keepalived":
		return VirtualIP
	case "cert", "tls", "secret":
		return Certificate
	case "limit", "limiter", "throttle", "quota":
		return RateLimit
	case "rollout", "canary":
		return RolloutPolicy
	}
	for _, k := range Kinds() {
		if fold(kind) == fold(k.Plural) {
			return k.Kind
		}
	}
	return ""
}

// enumHint is the value of an enum that people who know other proxies mean.
func enumHint(enum, value string) string {
	switch enum {
	case "Algorithm":
		switch fold(value) {
		case "leastconn", "leastconnections", "leastrequests", "p2c":
			return "LEAST_REQUEST"
		case "rr", "roundrobin", "weighted", "wrr":
			return "ROUND_ROBIN"
		}
	case "Version":
		switch fold(strings.TrimPrefix(strings.ToUpper(value), "TLSV")) {
		case "12", "tls12":
			return "TLS1_2"
		case "13", "tls13":
			return "TLS1_3"
		}
	case "Protocol":
		switch fold(value) {
		case "h2", "http/2", "grpc", "h2c":
			return "HTTP2"
		case "h1", "http/1", "http/11":
			return "HTTP1"
		case "ssl", "tls":
			return "HTTPS"
		}
	}
	return ""
}

// maxGot bounds what a problem quotes from its input.
const maxGot = 60

// holdsKey finds a private key in PEM.
func holdsKey(s string) bool { return strings.Contains(s, "PRIVATE KEY") }

// clip shortens s for a problem. A key that stands where none belongs is not
// shown either.
func clip(s string) string {
	if holdsKey(s) {
		return "a private key, which is not shown"
	}
	if len(s) <= maxGot {
		return s
	}
	cut := maxGot
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
