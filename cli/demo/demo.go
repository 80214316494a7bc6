package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// stopGrace is how long the processes may take to end by themselves.
	stopGrace = 8 * time.Second
	// lookPause stands between two looks at the fleet while it starts.
	lookPause = 50 * time.Millisecond
	// requestTimeout bounds one request to the control plane.
	requestTimeout = 10 * time.Second
)

// Run runs a demo until the context ends, which is its good end, or it cannot
// go on. When it returns, nothing that it started runs any more.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Check(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("demo: nodes run on Linux; on %s there is no engine for them yet", runtime.GOOS)
	}
	cfg = cfg.withDefaults()
	dir, temporary, err := makeDir(cfg.Dir)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d := &demo{Config: cfg, plan: newPlan(cfg.layout, dir, cfg.Self, cfg.Nodes, cfg.Loops), temporary: temporary}
	err = d.run(ctx)
	if temporary {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// demo is a running demo.
type demo struct {
	Config
	plan      Plan
	temporary bool
	client    *client.Client
	children  []*child
	began     time.Time
}

func (d *demo) printf(format string, args ...any) { fmt.Fprintf(d.Out, format, args...) }

func (d *demo) run(ctx context.Context) error {
	if err := checkPorts(ctx, d.plan.Ports, portHolder); err != nil {
		return err
	}
	if err := writeContext(d.plan); err != nil {
		return err
	}
	if d.plan.Key != "" {
		if err := writeKey(d.plan.Key); err != nil {
			return err
		}
	}
	var err error
	if d.client, err = client.New(client.Options{Server: d.plan.Server, Author: "demo", Timeout: requestTimeout}); err != nil {
		return err
	}
	defer d.client.Close()
	// The kernel kills the children when the thread that started them ends, so it
	// must stay until they have ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	undo, err := adoptOrphans()
	if err != nil {
		return err
	}
	defer undo()
	d.began = time.Now()
	d.announce()
	defer func() { stopChildren(d.children, d.grace) }()
	for _, p := range d.plan.Processes {
		c, err := startChild(p)
		if err != nil {
			return err
		}
		d.children = append(d.children, c)
	}
	version, err := d.makeReady(ctx)
	if err != nil {
		return err
	}
	if err := d.forget(ctx); err != nil {
		return err
	}
	d.explain(ctx, version)
	if d.ExitAfterReady {
		return nil
	}
	return d.live(ctx)
}

func (d *demo) announce() {
	fate := "kept at the end"
	if d.temporary {
		fate = "removed at the end"
	}
	d.printf("proxyfleet demo: state and logs in %s (%s)\n", d.plan.Dir, fate)
	d.printf("starting a control plane, %d nodes and a sample backend\n", d.Nodes)
}

// makeReady brings the fleet to run the first configuration.
func (d *demo) makeReady(ctx context.Context) (api.Version, error) {
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, d.ReadyTimeout, errNotReady)
	defer cancelTimeout()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, c := range d.children {
		go func() {
			select {
			case <-c.done:
				cancel(c.died())
			case <-ctx.Done():
			}
		}()
	}
	waiting := "the control plane"
	version, err := d.apply(ctx)
	if err == nil {
		waiting, err = d.waitForNodes(ctx, version)
	}
	if err == nil && d.plan.VIP != "" {
		waiting, err = d.waitForVIPs(ctx)
	}
	if ctx.Err() == nil || err == nil {
		return version, err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, errNotReady) {
		return version, cause
	}
	return version, fmt.Errorf("demo: %w after %s: waited for %s; the end of the control plane's log:\n%s",
		errNotReady, d.ReadyTimeout, waiting, tailOf(d.plan.Processes[0].Log))
}

// errNotReady says that the fleet took too long to start.
var errNotReady = errors.New("not ready")

// apply waits until the control plane answers and applies the first
// configuration.
func (d *demo) apply(ctx context.Context) (api.Version, error) {
	for {
		health, err := d.client.Ready(ctx)
		if err == nil && health.OK {
			break
		}
		if err != nil && !errors.Is(err, client.ErrNoServer) {
			return api.Version{}, err
		}
		if !wakeup.After(ctx, lookPause) {
			return api.Version{}, ctx.Err()
		}
	}
	yaml, leftOut := firstConfiguration()
	if len(leftOut) > 0 {
		d.printf("left out of first.yaml: %s (not supported yet)\n", strings.Join(leftOut, ", "))
	}
	result, err := d.client.Apply(ctx, []byte(yaml), client.Write{Message: "the demo's first configuration"})
	if err != nil {
		return api.Version{}, fmt.Errorf("demo: first.yaml: %w", err)
	}
	return result.Version, nil
}

// waitForNodes waits until each of the demo's nodes runs the version. What is
// missing is returned with an error.
func (d *demo) waitForNodes(ctx context.Context, version api.Version) (missing string, err error) {
	for {
		list, err := d.client.Nodes(ctx)
		if err != nil && !errors.Is(err, client.ErrNoServer) {
			return missing, err
		}
		if err == nil {
			names, refused := d.missing(list, version)
			if refused != nil || len(names) == 0 {
				return "", refused
			}
			missing = strings.Join(names, ", ")
		}
		if !wakeup.After(ctx, lookPause) {
			return missing, ctx.Err()
		}
	}
}

// missing names the demo's nodes that do not run the version yet.
func (d *demo) missing(list api.NodeList, version api.Version) (names []string, refused error) {
	states := map[string]api.NodeStatus{}
	for _, n := range list.Items {
		states[n.ID] = n
	}
	for _, want := range d.plan.Nodes {
		n, ok := states[want.ID]
		switch {
		case !ok:
			names = append(names, want.ID+" (has not said hello)")
		case (n.State == api.Rejected || n.State == api.Held) && len(n.Problems) > 0:
			return nil, fmt.Errorf("demo: %s refuses revision %d: %s", n.ID, n.Wanted.Revision, n.Problems[0])
		case n.State != api.Synced || n.Wanted.Epoch != version.Epoch || n.Wanted.Revision < version.Revision:
			names = append(names, want.ID+" ("+string(n.State)+")")
		}
	}
	return names, nil
}

// forget removes the nodes of an earlier demo in the same directory that this
// one does not have: they would count as missing.
func (d *demo) forget(ctx context.Context) error {
	list, err := d.client.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range list.Items {
		if n.Connected || slices.ContainsFunc(d.plan.Nodes, func(own Node) bool { return own.ID == n.ID }) {
			continue
		}
		if err := d.client.DeleteNode(ctx, n.ID); err != nil {
			return err
		}
		d.printf("forgot %s of an earlier demo\n", n.ID)
	}
	return nil
}

// explain prints where things are and what to try.
func (d *demo) explain(ctx context.Context, version api.Version) {
	d.printf("ready after %s: revision %d runs on %d of %d nodes\n\n",
		time.Since(d.began).Round(10*time.Millisecond), version.Revision, d.Nodes, d.Nodes)
	d.printf("  %-10s %s\n", "REST API", d.plan.Server)
	for _, n := range d.plan.Nodes {
		d.printf("  %-10s %s\n", n.ID, n.URL)
	}
	holder, pid := d.holder(ctx)
	if d.plan.VIP != "" {
		d.printf("  %-10s %s (held by %s, process %d)\n", "virtual IP", d.plan.VIP, holder, pid)
	}
	for _, address := range d.plan.Backends {
		d.printf("  %-10s http://%s\n", "backend", address)
	}
	d.printf("\nTry:\n")
	for _, line := range d.suggestions(pid) {
		d.printf("  %s\n", line)
	}
	if !d.ExitAfterReady {
		d.printf("\nCtrl-C takes everything down.\n")
	}
}

// suggestions are five commands to try. holder is the process of the node that
// holds the virtual IP; 0: nobody does.
func (d *demo) suggestions(holder int) []string {
	url := func(i int) string { return d.plan.Nodes[i%len(d.plan.Nodes)].URL }
	proxyctl := "PROXYCTL_CONFIG=" + quoted(d.plan.Context) + " " + quoted(shortPath(d.Self))
	if holder != 0 {
		return []string{
			"curl -H 'Host: shop.test' " + d.plan.VIP + "/",
			"curl -H 'Host: shop.test' -H 'X-Group: testers' " + url(1) + "/api",
			proxyctl + " status",
			proxyctl + " set weight route/api api-v1=50 api-v2=50 --wait",
			fmt.Sprintf("kill -9 %d; curl --retry 5 --retry-all-errors --retry-delay 0 %s/ping; %s vip", holder, d.plan.VIP, proxyctl),
		}
	}
	return []string{
		"curl -H 'Host: shop.test' " + url(0) + "/",
		"curl -H 'Host: shop.test' -H 'X-Group: testers' " + url(1) + "/api",
		"curl " + url(2) + "/ping",
		proxyctl + " status",
		proxyctl + " set weight route/api api-v1=50 api-v2=50 --wait",
	}
}

// shortPath is the path as one would type it here.
func shortPath(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	relative, err := filepath.Rel(here, path)
	if err != nil || strings.HasPrefix(relative, "..") {
		return path
	}
	if !strings.Contains(relative, string(filepath.Separator)) {
		relative = "." + string(filepath.Separator) + relative
	}
	return relative
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,", r)
	}
	if strings.IndexFunc(word, func(r rune) bool { return !safe(r) }) < 0 && word != "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
