package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/spf13/cobra"
)

const explainHelp = `Says which route of files of resources a request gets, and which were tried before
and why each of them did not fit, in the order in which a node tries them. Several
files are one configuration, as for lint. Nothing is sent, and nothing is asked of a
control plane.

Every HTTP and HTTPS listener of the files is asked, unless --listener names one;
scheme and port of the URL are not looked at.

Exit status: 0 each has a route for it; 1 one has none, which is answered with 404, or
the files are not accepted; 2 wrong use.`

const explainExamples = `  proxy-dataplane explain -f shop.yaml http://shop.test/cart

  # What a fleet runs now:
  curl -s '127.0.0.1:7402/config?full&format=yaml' >now.yaml
  proxy-dataplane explain -f now.yaml -X POST -H 'X-Beta: yes' --client 192.0.2.7 https://shop.test/cart?full=1`

// asked is the request to be explained.
type asked struct {
	listener, method, client, url string
	files, fields                 []string
}

// newExplainCommand is proxy-dataplane explain, which stands here for the reason of
// lint.
func newExplainCommand(w world) *cobra.Command {
	var a asked
	command := &cobra.Command{
		Use:     "explain -f FILE… URL",
		Short:   "Say which route a request gets, and why",
		Long:    explainHelp,
		Example: explainExamples,
		RunE: func(c *cobra.Command, args []string) error {
			if len(a.files) == 0 || len(args) != 1 {
				return settings.Usage("explain: expected -f FILE and a URL, as in explain -f shop.yaml http://shop.test/cart")
			}
			a.url = args[0]
			found, err := a.explain(c.Context(), w)
			if err != nil {
				return unread("explain", err)
			}
			if !found {
				return errFailed
			}
			return nil
		},
	}
	addFiles(command, &a.files)
	flags := command.Flags()
	flags.StringVar(&a.listener, "listener", "", "`NAME` of a listener (default each of HTTP and HTTPS)")
	flags.StringVarP(&a.method, "method", "X", "GET", "`METHOD` of the request")
	flags.StringArrayVarP(&a.fields, "header", "H", nil, "`FIELD: VALUE` of the request; repeated")
	flags.StringVar(&a.client, "client", "", "`ADDRESS` that the request comes from: the client's, or a trusted proxy's (default none, which no clientCIDRs has)")
	return command
}

// explain prints the walk; found: each listener has a route.
func (a *asked) explain(ctx context.Context, w world) (found bool, err error) {
	head, peer, err := a.request()
	if err != nil {
		return false, err
	}
	c, err := compileFiles(ctx, a.files, w)
	if c == nil || err != nil {
		return false, err
	}
	found = true
	looked := 0
	for i := range c.result.Table.Listeners {
		l := &c.result.Table.Listeners[i]
		if !l.Protocol.CarriesRoutes() || a.listener != "" && l.Name != a.listener {
			continue
		}
		looked++
		text, has := walk(l, head, peer)
		found = found && has
		if _, err := io.WriteString(w.stdout, text); err != nil {
			return false, err
		}
	}
	switch {
	case looked == 0 && a.listener == "":
		return false, fmt.Errorf("%s has no HTTP or HTTPS listener", nameOf(a.files))
	case looked == 0:
		return false, fmt.Errorf("%s has no HTTP or HTTPS listener %q", nameOf(a.files), a.listener)
	}
	return found, nil
}

// request reads the request as a node reads it from its connection.
func (a *asked) request() (head *message.Head, peer netip.Addr, err error) {
	u, err := url.Parse(a.url)
	if err != nil {
		return nil, peer, err
	}
	if u.Host == "" {
		return nil, peer, fmt.Errorf("%q: expected a URL with a host, as http://shop.test/cart", a.url)
	}
	if a.client != "" {
		if peer, err = netip.ParseAddr(a.client); err != nil {
			return nil, peer, fmt.Errorf("--client: %w", err)
		}
	}
	lines := append([]string{a.method + " " + u.RequestURI() + " HTTP/1.1", "Host: " + u.Host}, a.fields...)
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n") {
			return nil, peer, fmt.Errorf("%q is more than one line", line)
		}
	}
	var reader http1.Reader
	reader.Init(http1.Server, http1.Limits{})
	head = &message.Head{}
	if ev := reader.Next([]byte(strings.Join(lines, "\r\n")+"\r\n\r\n"), head); ev.Kind != http1.Head {
		return nil, peer, fmt.Errorf("a node refuses such a request: %s", ev.Reason)
	}
	return head, peer, nil
}

// walk is what a listener does with a request, as text.
func walk(l *table.Listener, head *message.Head, peer netip.Addr) (text string, found bool) {
	var b strings.Builder
	tell := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	tell("Listener/%s\n", l.Name)
	problem := exchange.Explain(l, head, peer, func(s table.Step) {
		class := s.Class
		if class == "" {
			class = "any host"
		}
		switch {
		case s.Route == nil:
			tell("  %s: no route\n", class)
		case s.Failed == table.ClauseNone:
			found = true
			tell("  %s: Route/%s is taken\n", class, s.Route.Name)
		case s.Failed == table.ClauseHeader: // At is of a list that is sorted
			tell("  %s: Route/%s does not fit by match.headers: %s\n", class, s.Route.Name, s.Route.Conditions.Headers[s.At].Name)
		case s.Failed == table.ClauseQuery:
			tell("  %s: Route/%s does not fit by match.query: %s\n", class, s.Route.Name, s.Route.Conditions.Query[s.At].Name)
		default:
			tell("  %s: Route/%s does not fit by match.%s\n", class, s.Route.Name, s.Failed)
		}
	})
	switch {
	case problem != "":
		tell("  400: %s\n", problem)
	case !found:
		tell("  404: no route is left\n")
	}
	return b.String(), found
}
