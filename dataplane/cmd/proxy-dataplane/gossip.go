package main

import (
	"github.com/proxyfleet/proxyfleet/dataplane/gossip"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/spf13/pflag"
)

// checkGossip settles whether the node gossips, and where.
func (o *options) checkGossip(f *pflag.FlagSet) error {
	for _, name := range []string{"gossip-address", "gossip-join", "gossip-key-file", "witness"} {
		if o.resources != "" && f.Changed(name) {
			return settings.Usage("--%s: a node that runs on --resources is in no fleet: leave it out", name)
		}
	}
	switch {
	case o.gossipAddress == gossipOff || o.resources != "":
		o.gossipAddress = ""
	case o.gossipAddress == "" && (o.gossipKeyFile != "" || o.insecure):
		o.gossipAddress = defaultGossip
	}
	if o.gossipAddress == "" {
		if len(o.gossipJoin) > 0 || o.witness {
			return settings.Usage("--gossip-join, --witness: gossip is off: it needs --gossip-key-file, --insecure, or a --gossip-address on loopback")
		}
		return nil
	}
	var keys gossip.Keys
	if o.gossipKeyFile != "" {
		var err error
		if keys, err = gossip.ReadKeyFile(o.gossipKeyFile); err != nil {
			return settings.Usage("--gossip-key-file: %v", err)
		}
	}
	// The agent makes the one that runs; here a mistake still has an answer.
	if _, err := gossip.New(gossip.Config{
		NodeID: o.nodeID, Address: o.gossipAddress, Join: o.gossipJoin, Keys: keys, Insecure: o.insecure, Labels: o.labels,
	}); err != nil {
		return settings.Usage("--gossip-address, --gossip-join: %v", err)
	}
	return nil
}
