package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/admin"
	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/control"
	"github.com/proxyfleet/proxyfleet/dataplane/handover"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// The node in a hand-over: what package handover has it do as the old process (it is a
// handover.Old), and what it does as the new one.

// upgrade hands over to a program, one at a time and once.
func (n *node) upgrade(ctx context.Context, r control.Request, say func(string, ...any)) (pid int, err error) {
	if !n.upgrading.TryLock() {
		return 0, errors.New("another upgrade is under way")
	}
	defer n.upgrading.Unlock()
	if wakeup.Closed(n.handedOver) {
		return 0, errors.New("another process took over already")
	}
	program := handover.Program{
		Path: r.Binary, Args: n.world.args, Stdout: n.world.stdout, Stderr: n.world.stderr, Timeout: r.Timeout(),
	}
	if n.options.memory != 0 {
		program.Limit = n.options.group
	}
	if pid, err = handover.Give(ctx, n, program, n.logger, say); err == nil {
		close(n.handedOver)
	}
	return pid, err
}

// Hold suspends the engine.
func (n *node) Hold(ctx context.Context) (handover.Estate, error) {
	if err := n.engine.Suspend(ctx); err != nil {
		return handover.Estate{}, err
	}
	served, err := n.served(ctx)
	if err != nil {
		n.engine.Resume()
		return handover.Estate{}, err
	}
	return handover.Estate{
		Served: served, EachSocket: n.engine.EachSocket,
		Admin: n.adminListener, AdminAddress: n.options.adminAddress,
	}, nil
}

// served is what this process serves, which is on the disk when it returns. The engine is
// held.
func (n *node) served(ctx context.Context) (handover.Served, error) {
	served := handover.Served{NodeID: n.options.nodeID, Drained: n.engine.Drained(), BootID: n.bootID()}
	running, err := n.standing(ctx)
	if err != nil || running == nil {
		return served, err
	}
	if err := n.lastGood.Wait(ctx, *running); err != nil {
		return served, err
	}
	served.Running = new(versionOf(running))
	return served, nil
}

// standing is what the engine serves; nil: nothing yet. It is held, but a change that
// it was waited for may be noted a moment later.
func (n *node) standing(ctx context.Context) (*table.Configuration, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		live, running := n.engine.Live().Load().Version, n.inForce.Load()
		if running == nil && live == (table.Version{}) || running != nil && running.Version == live {
			return running, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("configuration %d.%d is being put into force: %w", live.Epoch, live.Revision, ctx.Err())
		}
	}
}

func versionOf(c *table.Configuration) api.Version {
	return api.Version{Epoch: c.Version.Epoch, Revision: c.Version.Revision, Digest: c.Tree.Root().String()}
}

// Resign lets go of virtual IPs.
func (n *node) Resign(ctx context.Context) (undo func()) {
	n.vips.resign(ctx, handsOver)
	return func() { n.vips.resume(handsOver) }
}

// Resume lets the engine go on.
func (n *node) Resume() { n.engine.Resume() }

// Leave lets go of the sockets, and ends the parts that the new process has now.
func (n *node) Leave(ctx context.Context, pid int, unclaimed []netip.AddrPort) {
	if n.memory != nil {
		n.memory.Beside(pid)
	}
	if err := n.engine.Release(ctx, unclaimed); err != nil {
		n.logger.Error("hand-over: listeners", "error", err)
	}
	n.following.End()
	n.holding.End()
	n.showing.End()
}

// inherit refuses to serve something else than the old process does. last is the last
// known good configuration; nil: there is none.
func (n *node) inherit(last *table.Configuration) error {
	served := &n.predecessor.Served
	var have *api.Version
	if last != nil {
		have = new(versionOf(last))
	}
	if err := served.Check(n.options.nodeID, have); err != nil || served.Running == nil {
		return err
	}
	// The feed will compile it once more; here a refusal still has an answer.
	if _, problems := compile.Compile(n.permit, nil, last.Tree, last.Version); len(problems) > 0 {
		return fmt.Errorf("hand-over: this build does not take the configuration that is served: %d problems, the first: %s", len(problems), problems[0].String())
	}
	return nil
}

// suspend keeps the engine as the old process has its own, until that says Go.
func (n *node) suspend() error {
	if n.predecessor.Served.Drained {
		if err := n.drainer.BeginDrained(); err != nil {
			return err
		}
	}
	return n.engine.Suspend(context.Background())
}

// listenAdmin opens the admin address, or goes on with the old process's socket.
func (n *node) listenAdmin(ctx context.Context) (net.Listener, error) {
	if n.predecessor != nil {
		l, err := n.predecessor.ListenAdmin(n.options.adminAddress)
		if err != nil {
			return nil, err
		}
		if l != nil {
			return admin.Adopt(l, n.options.insecure)
		}
	}
	return admin.Listen(ctx, n.options.adminAddress, n.options.insecure)
}

// begins is closed when this process is the one that serves.
func (n *node) begins() <-chan struct{} {
	if n.predecessor != nil {
		return n.predecessor.Begin()
	}
	now := make(chan struct{})
	close(now)
	return now
}
