package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/loadgen"
	"github.com/proxyfleet/proxyfleet/deployments/bench/measure"
	"github.com/proxyfleet/proxyfleet/deployments/bench/report"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
	exitMissed = 3
)

var (
	errUsage  = errors.New("wrong use")
	errMissed = errors.New("a bar was missed")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	switch {
	case errors.Is(err, errMissed):
		os.Exit(exitMissed)
	case errors.Is(err, errUsage):
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case measure.RoleBackend:
			return runBackend(args[1:])
		case measure.RoleLoad:
			return runLoad(args[1:])
		case measure.RoleHold:
			return runHold(args[1:])
		case measure.RoleVisit:
			return runVisits(args[1:])
		case measure.RoleRelay:
			return runRelay(args[1:])
		}
	}
	return drive(ctx, args)
}

// parse reads flags; there are no other arguments.
func parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%w: what is %q?", errUsage, f.Arg(0))
	}
	return nil
}

func runBackend(args []string) error {
	f := flag.NewFlagSet(measure.RoleBackend, flag.ContinueOnError)
	listen := f.String("listen", "", "`ADDRESS`")
	size := f.Int("size", measure.AnswerBytes, "`BYTES` of an answer")
	http2 := f.Bool("http2", false, "speak HTTP/2 in cleartext, by prior knowledge")
	bodies := f.Bool("bodies", false, "for long bodies, both ways")
	if err := parse(f, args); err != nil {
		return err
	}
	address, err := netip.ParseAddrPort(*listen)
	if err != nil {
		return err
	}
	o := loadgen.BackendOptions{Listen: address, Size: *size, HTTP2: *http2, Control: os.Stdin, Out: os.Stdout}
	if *bodies {
		return loadgen.RunServer(o)
	}
	return loadgen.RunBackend(o)
}

func runLoad(args []string) error {
	f := flag.NewFlagSet(measure.RoleLoad, flag.ContinueOnError)
	target := f.String("target", "", "`ADDRESS`")
	var layout rivals.Layout
	f.IntVar(&layout.Hosts, "hosts", 0, "`NUMBER` of hosts to choose from")
	f.IntVar(&layout.RoutesPerHost, "routes", 0, "`NUMBER` of routes of each")
	var o loadgen.Options
	f.IntVar(&o.Connections, "connections", 64, "`NUMBER` of connections")
	f.BoolVar(&o.TLS, "tls", false, "by TLS 1.3")
	f.BoolVar(&o.Short, "short", false, "a connection for each request")
	f.Float64Var(&o.Rate, "rate", 0, "requests per second; 0: as many as possible")
	f.DurationVar(&o.Duration, "duration", time.Second, "`TIME` to send")
	f.DurationVar(&o.Warmup, "warmup", 0, "`TIME` at the start that does not count")
	f.DurationVar(&o.Timeout, "timeout", 10*time.Second, "`TIME` for answers after the end")
	f.Uint64Var(&o.Seed, "seed", 1, "`NUMBER` that fixes schedule and choice")
	if err := parse(f, args); err != nil {
		return err
	}
	var err error
	if o.Target, err = netip.ParseAddrPort(*target); err != nil {
		return err
	}
	o.Requests = measure.Requests(layout, o.Short)
	result, err := loadgen.Run(o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func runHold(args []string) error {
	f := flag.NewFlagSet(measure.RoleHold, flag.ContinueOnError)
	target := f.String("target", "", "`ADDRESS`")
	host := f.String("host", "", "`NAME` to ask for")
	path := f.String("path", "/", "`PATH` to ask for")
	post := f.Int("post", 0, "`BYTES` of a body that is posted; 0: GET")
	o := loadgen.HoldOptions{ServerName: rivals.ServerName, Control: os.Stdin, Out: os.Stdout}
	f.BoolVar(&o.TLS, "tls", false, "by TLS 1.3")
	if err := parse(f, args); err != nil {
		return err
	}
	var err error
	if o.Target, err = netip.ParseAddrPort(*target); err != nil {
		return err
	}
	if o.Request = loadgen.Request(*host, *path); *post > 0 {
		o.Request = loadgen.Post(*host, *path, *post)
	}
	return loadgen.RunHold(o)
}

func runVisits(args []string) error {
	f := flag.NewFlagSet(measure.RoleVisit, flag.ContinueOnError)
	target := f.String("target", "", "`ADDRESS`")
	o := loadgen.VisitOptions{ServerName: rivals.ServerName, Control: os.Stdin, Out: os.Stdout}
	f.StringVar(&o.Host, "host", "", "`NAME` to ask for")
	f.StringVar(&o.Path, "path", "/", "`PATH` to ask for")
	visit := f.String("visit", "", fmt.Sprintf("what is done again and again: one of %v", loadgen.Visits()))
	f.IntVar(&o.Workers, "workers", 1, "how many do it at once")
	f.BoolVar(&o.TLS, "tls", false, "download by TLS 1.3")
	if err := parse(f, args); err != nil {
		return err
	}
	var err error
	if o.Target, err = netip.ParseAddrPort(*target); err != nil {
		return err
	}
	o.Visit = loadgen.Visit(*visit)
	return loadgen.RunVisits(o)
}

func runRelay(args []string) error {
	f := flag.NewFlagSet(measure.RoleRelay, flag.ContinueOnError)
	listen := f.String("listen", "", "`ADDRESS`")
	target := f.String("target", "", "`ADDRESS`")
	o := loadgen.RelayOptions{Control: os.Stdin}
	f.DurationVar(&o.Delay, "delay", 0, "`TIME` that each byte waits in each direction")
	if err := parse(f, args); err != nil {
		return err
	}
	var errs [2]error
	o.Listen, errs[0] = netip.ParseAddrPort(*listen)
	o.Target, errs[1] = netip.ParseAddrPort(*target)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	return loadgen.RunRelay(o)
}

// options are the driver's flags.
type options struct {
	measure.Config
	proxyfleet, goProxy, only, saturate string
	page, json, from                    string
	check, ci, method, add              bool
}

func (o *options) define(f *flag.FlagSet) {
	f.IntVar(&o.Rounds, "rounds", 5, "`NUMBER` of rounds")
	f.DurationVar(&o.Round, "round", 20*time.Second, "`TIME` of one round of one proxy")
	f.DurationVar(&o.Turn, "turn", 5*time.Second, "`TIME` of a round after which it is the next proxy's turn; 0: a round is one turn")
	f.DurationVar(&o.Warmup, "warmup", 2*time.Second, "`TIME` before each turn that does not count")
	f.DurationVar(&o.Settle, "settle", time.Minute, "`TIME` that idle connections get before memory is read")
	f.IntVar(&o.IdleFrom, "idle-from", 1000, "the lower `NUMBER` of idle connections")
	f.IntVar(&o.IdleTo, "idle-to", 15_000, "the higher `NUMBER`")
	f.Uint64Var(&o.MallocRequests, "malloc-requests", 1_000_000, "`NUMBER` of requests over which allocations are counted")
	f.IntVar(&o.ProxyCore, "proxy-core", 0, "processor `NUMBER` of the proxies")
	f.IntVar(&o.LoadCore, "load-core", 1, "processor `NUMBER` of load and backend")
	f.StringVar(&o.only, "only", "", "the scenarios to measure, `ID,ID`… (default all)")
	f.StringVar(&o.saturate, "saturate", "wrk", "what makes the saturated load: `wrk or own`; without wrk, own")
	f.StringVar(&o.proxyfleet, "proxyfleet", "bin/proxy-dataplane", "`PATH` of proxyfleet's node")
	f.StringVar(&o.goProxy, "goproxy", "bin/bench/goproxy", "`PATH` of the Go reverse proxies")
	f.StringVar(&o.Dir, "dir", "", "`DIR` for configurations and logs, which stay there (default: a new one, removed afterwards)")
	f.StringVar(&o.page, "page", "", "`FILE` for the page (default: standard output)")
	f.StringVar(&o.json, "json", "", "`FILE` for the results")
	f.BoolVar(&o.add, "add", false, "keep what the FILE of --json has of other scenarios, if the settings, the rivals and how the machine is set up are the same")
	f.StringVar(&o.from, "from", "", "measure nothing: write the page from the results in `FILE`")
	f.BoolVar(&o.method, "method", false, "measure nothing: write the page without results")
	f.BoolVar(&o.check, "check", false, fmt.Sprintf("exit with %d if a bar is missed", exitMissed))
	f.BoolVar(&o.ci, "ci", false, "loosen the bars by twice their slack, for shared machines")
}

func drive(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	o.define(f)
	if err := parse(f, args); err != nil {
		return err
	}
	var r *report.Report
	var measured, err error
	switch {
	case o.method:
	case o.from != "":
		if r, err = read(o.from); err != nil {
			return err
		}
	default:
		// What was whole before something failed is shown too, but not published.
		if r, measured = o.measure(ctx); r == nil {
			return measured
		}
		r.CI = o.ci
	}
	if errors.Is(measured, context.Canceled) {
		measured = errors.New("stopped before the end")
	}
	if measured != nil {
		return errors.Join(measured, write("", func(w io.Writer) error { return o.render(w, r) }))
	}
	if err := write(o.page, func(w io.Writer) error { return o.render(w, r) }); err != nil {
		return err
	}
	if r == nil {
		return nil
	}
	if o.json != "" {
		if err := write(o.json, func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", " ")
			return e.Encode(r)
		}); err != nil {
			return err
		}
	}
	return o.verdict(r)
}

// measure makes the run.
func (o *options) measure(ctx context.Context) (*report.Report, error) {
	var err error
	if o.Programs, err = measure.Find(ctx, o.proxyfleet, o.goProxy); err != nil {
		return nil, err
	}
	switch o.saturate {
	case "wrk":
		if o.Wrk, err = measure.FindTool(ctx, measure.Wrk); err != nil {
			return nil, err
		}
	case "own":
	default:
		return nil, fmt.Errorf("%w: --saturate %q: want wrk or own", errUsage, o.saturate)
	}
	if o.H2load, err = measure.FindTool(ctx, measure.H2load); err != nil {
		return nil, err
	}
	if o.add {
		if o.Earlier, err = read(o.json); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if o.only != "" {
		o.Only = strings.Split(o.only, ",")
	}
	if o.Self, err = os.Executable(); err != nil {
		return nil, err
	}
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp(measure.Room(), "proxyfleet-bench-"); err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(o.Dir) }() // in memory, or where temporary things are
	} else if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	o.Say = func(text string) {
		fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), text)
	}
	return measure.Run(ctx, o.Config, time.Now)
}

func (o *options) render(w io.Writer, r *report.Report) error {
	var usual options
	usual.define(flag.NewFlagSet("", flag.ContinueOnError)) // sets what no flag changed
	text, err := report.Page(report.Defaults{
		Rounds: usual.Rounds, Round: usual.Round, Turn: usual.Turn, Warmup: usual.Warmup, Takes: measure.Takes(usual.Config),
		AnswerBytes: measure.AnswerBytes, FixedShare: measure.FixedShare,
	}, r)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// verdict tells which bars were missed.
func (o *options) verdict(r *report.Report) error {
	missed := 0
	for _, j := range r.Judge() {
		if j.Verdict == report.Missed {
			missed++
			fmt.Fprintln(os.Stderr, "missed:", j)
		}
	}
	if missed > 0 && o.check {
		return fmt.Errorf("%w: %d of them", errMissed, missed)
	}
	return nil
}

// read is the results of an earlier run.
func read(path string) (*report.Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &report.Report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// write makes a file whole, or leaves the one that was there.
func write(path string, fill func(io.Writer) error) error {
	if path == "" {
		return fill(os.Stdout)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".bench-*")
	if err != nil {
		return err
	}
	err = errors.Join(fill(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		if e := os.Remove(f.Name()); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
