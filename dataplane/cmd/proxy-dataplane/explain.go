package main

import (
	"context"
	"fmt"

	"github.com/proxyfleet/proxyfleet/dataplane/explain"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/spf13/cobra"
)

const explainHelp = `Says which route of files of resources a request gets, and which were tried before
and why each of them did not fit, in the order in which a node tries them. Several
files are one configuration, as for lint. Nothing is sent, and nothing is asked of a
control plane (proxyctl explain asks one).

Every HTTP and HTTPS listener of the files is asked, unless --listener names one;
scheme and port of the URL are not looked at.

Exit status: 0 each has a route for it; 1 one has none, which is answered with 404, or
the files are not accepted; 2 wrong use.`

const explainExamples = `  proxy-dataplane explain -f shop.yaml http://shop.test/cart

  proxy-dataplane explain -f conf.d -X POST -H 'X-Beta: yes' --client 192.0.2.7 'https://shop.test/cart?full=1'

  # What this node runs now; proxyctl explain asks for what the fleet should run:
  curl -s '127.0.0.1:7402/config?full&format=yaml' | proxy-dataplane explain -f - https://shop.test/cart`

// asked is the request to be explained, and the files by which it is.
type asked struct {
	api.ExplainRequest
	files []string
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
			a.URL = args[0]
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
	flags.StringVar(&a.Listener, "listener", "", "`NAME` of a listener (default each of HTTP and HTTPS)")
	flags.StringVarP(&a.Method, "method", "X", "GET", "`METHOD` of the request")
	flags.StringArrayVarP(&a.Headers, "header", "H", nil, "`FIELD: VALUE` of the request; repeated")
	flags.StringVar(&a.Client, "client", "", "`ADDRESS` that the request comes from: the client's, or a trusted proxy's (default none, which no clientCIDRs has)")
	return command
}

// explain prints what the listeners do; found: each has a route.
func (a *asked) explain(ctx context.Context, w world) (found bool, err error) {
	c, err := compileFiles(ctx, a.files, w)
	if c == nil || err != nil {
		return false, err
	}
	listeners, err := explain.Listeners(c.result.Table, a.ExplainRequest)
	switch {
	case err != nil:
		return false, err
	case len(listeners) == 0:
		return false, fmt.Errorf("%s has no HTTP or HTTPS listener", nameOf(a.files))
	}
	for _, l := range listeners {
		for _, line := range l.Lines() {
			if _, err := fmt.Fprintln(w.stdout, line); err != nil {
				return false, err
			}
		}
	}
	return api.Explanation{Listeners: listeners}.Found(), nil
}
