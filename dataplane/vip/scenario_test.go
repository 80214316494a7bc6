package vip

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

var update = flag.Bool("update", false, "write what the scenarios give into their files")

// TestScenariosGoAsWritten plays testdata/*.txt: blocks of commands, each followed by a
// line "----", what it led to, and an empty line. Everything takes its exact
// time: a datagram 1 ms, gossip 100 ms, the loss of a node 1.5 s.
//
//	nodes a b c                  the expected members; nothing runs yet
//	vip x [prefer=b,c] [preempt] [policy=AVAILABILITY] [nodes=a,b] [zone=z]
//	start [a ...]                processes, of all nodes or these
//	crash a / stop a MS / freeze a MS
//	flags a [eligible] [healthy] [draining] [witness]
//	cut a b / join a b / oneway a b    links: none, both ways, a to b only
//	parts ab c                   who hears whom
//	list REVISION a b c          another list of expected members, at once
//	vips                         as vip, for running nodes: the file's so far
//	run MS
//	messages on|off              show what is said
//	status a
func TestScenariosGoAsWritten(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("got:\n%s\nwant:\n%s", got, text)
			}
		})
	}
}

// play returns a scenario with what it leads to.
func play(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	p := &player{}
	for _, block := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		commands, _, _ := strings.Cut(block, "----")
		commands = strings.TrimRight(commands, "\n")
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(commands + "\n")
		if isComment(commands) {
			continue
		}
		p.trace.Reset()
		for _, line := range strings.Split(commands, "\n") {
			if words := strings.Fields(line); len(words) > 0 && words[0][0] != '#' {
				p.do(t, words[0], words[1:])
			}
		}
		out.WriteString("----\n" + p.trace.String())
	}
	return out.String()
}

func isComment(block string) bool {
	for _, line := range strings.Split(block, "\n") {
		if line != "" && line[0] != '#' {
			return false
		}
	}
	return true
}

type player struct {
	w     *world
	specs []Spec
	trace strings.Builder
}

func (p *player) do(t *testing.T, command string, args []string) {
	t.Helper()
	node := func(i int) int {
		place, ok := p.w.list.Index(args[i])
		if !ok {
			t.Fatalf("%s %v: no such node", command, args)
		}
		return place
	}
	number := func(i int) int64 {
		n, err := strconv.ParseInt(args[i], 10, 64)
		if err != nil {
			t.Fatalf("%s %v: %v", command, args, err)
		}
		return n
	}
	link := func(there, back bool) {
		a, b := node(0), node(1)
		old := p.w.links
		p.w.links = nil
		for _, row := range old {
			p.w.links = append(p.w.links, append([]bool{}, row...))
		}
		p.w.links[a][b], p.w.links[b][a] = there, back
		links := p.w.links
		p.w.connect(func(from, to int) bool { return links[from][to] })
	}
	switch command {
	case "nodes":
		p.w = newWorld(1, calm, defaultTiming(), len(args))
		p.w.trace = &p.trace
	case "vip":
		p.specs = append(p.specs, parseSpec(t, args))
		p.w.specs = p.specs
	case "vips":
		for i, m := range p.w.nodes {
			if m.up {
				m.inbox = append(m.inbox, Configured{p.specs})
				p.w.step(i)
			}
		}
	case "start":
		for i, m := range p.w.nodes {
			if len(args) == 0 || strings.Contains(strings.Join(args, " "), m.id) {
				p.w.boot(i)
			}
		}
	case "crash":
		p.w.crash(node(0))
	case "stop":
		p.w.stop(node(0), number(1)*ms)
	case "freeze":
		p.w.freeze(node(0), number(1)*ms)
	case "flags":
		f := member.Flags(0)
		for _, name := range args[1:] {
			f |= map[string]member.Flags{"eligible": member.Eligible, "healthy": member.Healthy, "draining": member.Draining, "witness": member.Witness}[name]
		}
		p.w.setFlags(node(0), f)
	case "cut":
		link(false, false)
	case "join":
		link(true, true)
	case "oneway":
		link(true, false)
	case "parts":
		p.w.connect(func(from, to int) bool {
			for _, part := range args {
				if strings.Contains(part, p.w.nodes[from].id) && strings.Contains(part, p.w.nodes[to].id) {
					return true
				}
			}
			return false
		})
	case "list":
		for i, m := range p.w.nodes {
			if m.up {
				m.inbox = append(m.inbox, Listed{NewList(uint64(number(0)), args[1:]...)})
				p.w.step(i)
			}
		}
	case "run":
		p.w.run(number(0) * ms)
	case "messages":
		p.w.msgs = args[0] == "on"
	case "status":
		g := p.w.nodes[node(0)].g
		for _, s := range g.Status() {
			order, granted := g.candidates(s.VIP)
			fmt.Fprintf(&p.trace, "%s: %s is %s, holder %q, term %d, order %v, granted by %d, alive %d of %d expected, %d needed, %s",
				args[0], s.VIP, s.State, s.Holder, s.Term, order, granted, s.Alive, s.Expected, s.Needed, s.Policy)
			if s.Why != "" {
				fmt.Fprintf(&p.trace, " (%s)", s.Why)
			}
			p.trace.WriteByte('\n')
		}
	default:
		t.Fatalf("unknown command %q", command)
	}
}

// candidates says who should hold, the best first, and how many members' grants this node
// has, if it asks or holds.
func (g *Grants) candidates(vip string) (order []string, granted int) {
	o := g.find(vip)
	order = o.choice.order()
	if o.state != Asking && o.state != Holding {
		return order, 0
	}
	for i := range o.answers {
		if at := o.answers[i].acked; at != never && g.now-at <= g.t.keep {
			granted++
		}
	}
	return order, granted
}

func parseSpec(t *testing.T, args []string) Spec {
	t.Helper()
	s := Spec{VIP: args[0]}
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "prefer":
			s.Preference = strings.Split(value, ",")
		case "preempt":
			s.Preempt = true
		case "nodes":
			s.Nodes = strings.Split(value, ",")
		case "policy":
			s.Policy = map[string]Policy{"MAJORITY": Majority, "AVAILABILITY": Availability}[value]
		default:
			s.Labels = append(s.Labels, member.Label{Name: key, Value: value})
		}
	}
	return s
}
