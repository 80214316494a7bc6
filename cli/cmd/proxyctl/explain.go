package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func (a *app) explainCommand() *cobra.Command {
	var r api.ExplainRequest
	cmd := &cobra.Command{
		Use:   "explain URL",
		Short: "Say which route a request gets, and why",
		Long: `Say which route a request gets by what the fleet should run, which ones are tried
before, and by what each of them does not fit, in the order in which nodes try them.
Nothing is sent. proxyctl status says whether the nodes run that revision.

Every HTTP and HTTPS listener is asked, unless --listener names one; scheme and port
of the URL are not looked at. proxy-dataplane explain does the same for files.

The exit status is 0 if each listener has a route for the request, and 1 if one has
none, which is answered with 404.`,
		Example: `  proxyctl explain https://shop.test/cart
  proxyctl explain 'shop.test/cart?full=1' -X POST -H 'X-Beta: yes' --client 192.0.2.7
  proxyctl explain https://shop.test/cart -o json | jq '.listeners[].route'`,
		Args: takes(1, 1),
		RunE: runner(func(ctx context.Context, args []string) error {
			var err error
			if r.URL, err = asURL(args[0]); err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				e, err := c.Explain(ctx, r)
				if err != nil {
					return err
				}
				if err := a.show(e, func() { a.printf("%s", a.explainText(e)) }); err != nil {
					return err
				}
				if !e.Found() {
					return &quietError{statusFailed}
				}
				return nil
			})
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&r.Listener, "listener", "", "`NAME` of a listener (default: each of HTTP and HTTPS)")
	flags.StringVarP(&r.Method, "method", "X", "GET", "`METHOD` of the request")
	flags.StringArrayVarP(&r.Headers, "header", "H", nil, "`FIELD: VALUE` of the request; may be repeated")
	flags.StringVar(&r.Client, "client", "", "`ADDRESS` that the request comes from: the client's, or a trusted proxy's (default: one that no clientCIDRs has)")
	a.completeFlag(cmd, "listener", a.completeKind(resource.Listener))
	a.completeFlag(cmd, "method", oneOf("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"))
	offer(cmd)
	return cmd
}

// asURL takes a URL as curl does, without a scheme too.
func asURL(word string) (string, error) {
	if strings.Contains(word, "://") {
		return word, nil
	}
	kind, field, _ := strings.Cut(word, ".")
	if _, err := parseKind(kind); err == nil && (field == "" || strings.HasPrefix(field, "spec")) {
		return "", wrongUse("%q: expected a URL, as https://shop.test/cart; what fields there are is in docs/RESOURCES.md", word)
	}
	return "http://" + word, nil
}

// explainText is an explanation for people.
func (a *app) explainText(e api.Explanation) string {
	var b strings.Builder
	on := a.colours(a.stdout)
	fmt.Fprintf(&b, "%s %d\n", paint(on, bold, "revision"), e.Revision)
	if len(e.Listeners) == 0 {
		b.WriteString("No listener speaks HTTP or HTTPS.\n")
	}
	for _, l := range e.Listeners {
		lines := l.Lines()
		colour := green
		if l.Route == "" {
			colour = red
		}
		for i, line := range lines {
			line = visible(line)
			if i == len(lines)-1 {
				line = paint(on, colour, line)
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
