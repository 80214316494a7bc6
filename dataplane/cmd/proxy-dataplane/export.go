package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

const exportHelp = `Writes the configuration that a node of this machine keeps in its state directory,
the last that came into force, as resources in YAML: all of it, and with the private
keys of its certificates. The node may run or not; nothing is asked of it, and nothing
is changed.

It is for a fleet whose etcd is lost and whose files are not at hand: proxyctl restore
makes a new control plane have what the node has. The file is readable by its owner
only. Whoever has it has the keys: delete it when the fleet runs again.

Exit status: 0 it is written; 1 the node keeps nothing, or what it keeps cannot be
read; 2 wrong use.`

const exportExamples = `  proxy-dataplane export --config /etc/proxyfleet/node.yaml --to fleet.yaml

  # From a node to the machine of the control plane:
  ssh root@edge-1 proxy-dataplane export --config /etc/proxyfleet/node.yaml --to - | proxyctl restore -f - --wait`

// toStdout is a --to.
const toStdout = "-"

// newExportCommand is proxy-dataplane export. It takes the node's own flags, variables and
// configuration file, as upgrade does.
func newExportCommand(w world) *cobra.Command {
	var o options
	var to string
	command := &cobra.Command{
		Use:     "export --to FILE",
		Short:   "Write the configuration that a node keeps, with its private keys",
		Long:    exportHelp,
		Example: exportExamples,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := settings.Fill(c.Flags(), w.getenv); err != nil {
				return err
			}
			switch {
			case to == "":
				return settings.Usage("export: expected --to FILE, or --to - for standard output")
			case !resource.ValidName(o.nodeID):
				return settings.Usage("--node-id: %q is no name of a node", o.nodeID)
			case o.resources != "":
				return settings.Usage("export: a node that runs on --resources has its configuration there")
			case o.stateDir == "":
				return settings.Usage("--state-dir: export finds by it what a node keeps")
			}
			if err := export(o, to, w); err != nil {
				fmt.Fprintf(w.stderr, "proxy-dataplane: export: %v\n", err)
				return errFailed
			}
			return nil
		},
	}
	f := command.Flags()
	f.StringVar(&to, "to", "", "`FILE` to write, which must not be there; - is standard output")
	o.define(f)
	f.VisitAll(func(flag *pflag.Flag) {
		switch flag.Name {
		case "to", "node-id", "state-dir", settings.ConfigFlag:
		default:
			flag.Hidden = true
		}
	})
	return command
}

// export writes what the node keeps.
func export(o options, to string, w world) error {
	dir := nodeDir(o.stateDir, o.nodeID)
	kept, err := lastgood.Read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("node %s keeps no configuration in %s: --config, or --node-id and --state-dir, say which node is meant (%w)", o.nodeID, dir, err)
	case err != nil:
		return err
	}
	if kept.Doubt != nil {
		fmt.Fprintf(w.stderr, "proxy-dataplane: export: warning: the newest file is not believed; this is the one before: %v\n", kept.Doubt)
	}
	text, err := exported(o.nodeID, kept)
	if err != nil {
		return err
	}
	if to == toStdout {
		if _, err := w.stdout.Write(text); err != nil {
			return err
		}
	} else if err := writeSecret(to, text); err != nil {
		return err
	}
	c := kept.Configuration
	fmt.Fprintf(w.stderr, "%d resources of node %s, with private keys: epoch %d, revision %d, digest %s, in force since %s or before\n",
		c.Tree.Len(), o.nodeID, c.Version.Epoch, c.Version.Revision, c.Tree.Root(), kept.Written.Format(time.RFC3339))
	return nil
}

// exported is the text of a configuration, whose resources have the very digest again when
// they are read.
func exported(nodeID string, kept lastgood.Kept) ([]byte, error) {
	c := kept.Configuration
	leaves := slices.SortedFunc(c.Tree.All(), func(a, b tree.Leaf) int { return a.Key.Compare(b.Key) })
	text := fmt.Appendf(nil, "# Kept by node %s: epoch %d, revision %d, digest %s. It has private keys.\n",
		nodeID, c.Version.Epoch, c.Version.Revision, c.Tree.Root())
	for i, leaf := range leaves {
		r, err := resource.Parse(leaf.Bytes)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			text = append(text, "---\n"...)
		}
		if text, err = resource.AppendSecretYAML(text, r); err != nil {
			return nil, err
		}
	}
	if err := hasRoot(text, c); err != nil {
		return nil, err
	}
	return text, nil
}

// hasRoot holds that what is written is what is kept. Of a build that knows more there may
// be fields which this one cannot write.
func hasRoot(text []byte, c table.Configuration) error {
	docs, problems := resource.Decode(text, resource.DecodeOptions{})
	if len(problems) > 0 {
		return fmt.Errorf("this build cannot write what is kept: %s", problems[0].String())
	}
	var again tree.Tree
	for i := range docs {
		canonical, err := resource.Canonical(docs[i].Resource)
		if err != nil {
			return err
		}
		again = again.Set(docs[i].Key, canonical)
	}
	if again.Root() != c.Tree.Root() {
		return errors.New("this build cannot write what is kept: take the program that the node runs")
	}
	return nil
}

// writeSecret writes a file that is there whole or not at all, for its owner.
func writeSecret(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = os.Remove(name) // half a configuration would remove the other half
	}
	return err
}
