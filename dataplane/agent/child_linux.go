package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/gossip"
	"github.com/proxyfleet/proxyfleet/dataplane/vip"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/scribe"
)

const (
	// startTimeout bounds the wait for the main process's first word.
	startTimeout = 10 * time.Second
	// gossipFor is how long the gossip address is tried: the agent before this
	// one is saying goodbye.
	gossipFor   = 2 * time.Second
	gossipPause = 10 * time.Millisecond
	// inboxSize bounds the messages of other members that wait. What does not fit
	// is as good as lost, which Grants bears.
	inboxSize = 1024
)

// Run is the vip-agent's whole life, on the descriptors MainFD and PulseFD. It
// ends when the main process does, and then without an error.
func Run(ctx context.Context, messages io.Writer) error { return run(ctx, messages, openListening) }

func run(ctx context.Context, messages io.Writer, open openFunc) error {
	main, err := openConn(MainFD)
	if err != nil {
		return err
	}
	defer main.close()
	if err := unix.SetNonblock(PulseFD, true); err != nil {
		return fmt.Errorf("vip-agent: descriptor %d: %w", PulseFD, err)
	}
	unix.CloseOnExec(PulseFD)
	pipe := os.NewFile(PulseFD, "pulse")
	defer pipe.Close()
	start, err := hearStart(main)
	if err != nil {
		return err
	}
	out := scribe.Start(messages) // who waits for whoever reads that lets go of virtual IPs
	defer out.Close()
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.Level(start.GetLogLevel())})).With("process", "vip-agent")
	insist(log)
	err = live(ctx, main, pipe, start, log, open)
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

func hearStart(main *conn) (*fleetv1.AgentStart, error) {
	main.setDeadline(time.Now().Add(startTimeout))
	var m fleetv1.ToAgent
	fd, err := main.receive(&m)
	if fd != noFD {
		closeFD(fd)
	}
	if err != nil {
		return nil, err
	}
	main.setDeadline(time.Time{})
	if m.GetStart() == nil {
		return nil, fmt.Errorf("%w: %T, expected the start", errMessage, m.GetMessage())
	}
	return m.GetStart(), nil
}

// live gossips, and runs the loop until the main process is gone.
func live(ctx context.Context, main *conn, pipe *os.File, start *fleetv1.AgentStart, log *slog.Logger, open openFunc) error {
	l := &loop{
		log: log, clock: boottime, witness: start.GetWitness(), node: start.GetNodeId(), labels: start.GetLabels(),
		inbox: make(chan vip.Message, inboxSize), orders: make(chan *fleetv1.AgentWanted, 1), refused: make(chan uint64), pulses: make(chan pulse, 1),
		gone: make(chan struct{}), failed: make(chan error, 1), look: newOnlooker(os.Getppid()).look,
		held: map[string]*holding{}, benched: map[string]bench{}, left: map[string]int64{}, conflicts: map[string]conflict{},
	}
	l.out = newOutbox()
	l.env = &env{clock: l.clock, open: open, here: isHere, out: l.out}
	g, goodbye, stop, err := gossiping(ctx, start, l, log)
	if err != nil {
		return err
	}
	defer stop()
	l.gossip, l.goodbye = g, goodbye
	l.grants, err = vip.New(vip.Config{Self: start.GetNodeId(), Boot: g.Boot(), Now: l.clock()})
	if err != nil {
		return err
	}
	done := make(chan struct{})
	var wait sync.WaitGroup
	defer wait.Wait()
	defer pipe.Close()
	defer main.close()
	defer close(done)
	wait.Go(func() { l.out.run(main, done) })
	wait.Go(func() { hearOrders(main, l, log, done) })
	wait.Go(func() { hearPulses(pipe, l.pulses) })
	return l.run(ctx)
}

// gossiping starts gossip. goodbye begins its end, stop waits for it.
func gossiping(ctx context.Context, start *fleetv1.AgentStart, l *loop, log *slog.Logger) (g *gossip.Gossip, goodbye, stop func(), err error) {
	c := gossip.Config{
		NodeID: start.GetNodeId(), Address: start.GetGossipAddress(), Join: start.GetGossipJoin(),
		Insecure: start.GetInsecure(), Labels: start.GetLabels(), Receive: l.receive, Logger: log,
	}
	if start.GetGossipKeyFile() != "" {
		if c.Keys, err = gossip.ReadKeyFile(start.GetGossipKeyFile()); err != nil {
			return nil, nil, nil, err
		}
	}
	for began := time.Now(); ; {
		// A process of its own in the eyes of others each time: nothing of a boot is
		// used again.
		if g, err = gossip.New(c); err != nil {
			return nil, nil, nil, err
		}
		running, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan error, 1)
		go func() { ended <- g.Run(running) }()
		select {
		case <-g.Ready():
			done := make(chan struct{})
			go func() {
				defer close(done)
				err := <-ended
				switch {
				case err == nil:
				case running.Err() != nil:
					log.Debug("vip-agent: goodbye", "error", err)
				default: // the next agent begins anew
					l.failed <- err
				}
			}()
			return g, cancel, func() {
				cancel()
				<-done
			}, nil
		case err = <-ended:
			cancel()
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Since(began) >= gossipFor {
			return nil, nil, nil, err
		}
		time.Sleep(gossipPause)
	}
}

// hearOrders passes on what the main process wants, the latest only, and what it refuses,
// until it ends or done is closed.
func hearOrders(main *conn, l *loop, log *slog.Logger, done <-chan struct{}) {
	defer close(l.gone)
	for {
		var m fleetv1.ToAgent
		fd, err := main.receive(&m)
		if fd != noFD {
			closeFD(fd)
		}
		if err != nil {
			if !errors.Is(err, errGone) && !errors.Is(err, os.ErrClosed) {
				log.Error("vip-agent: main process", "error", err)
			}
			return
		}
		switch m := m.GetMessage().(type) {
		case *fleetv1.ToAgent_Wanted:
			offer(l.orders, m.Wanted)
		case *fleetv1.ToAgent_Refused:
			select {
			case l.refused <- m.Refused.GetNumber():
			case <-done:
				return
			}
		}
	}
}

// hearPulses passes on signs of life, the latest of those that came; the channel is
// closed when there can be no more.
func hearPulses(pipe io.Reader, pulses chan pulse) {
	defer close(pulses)
	b := make([]byte, 32*pulseSize)
	have := 0
	for {
		n, err := pipe.Read(b[have:])
		if err != nil || n == 0 {
			return
		}
		have += n
		if whole := have - have%pulseSize; whole > 0 {
			offer(pulses, decodePulse(b[whole-pulseSize:whole]))
			have = copy(b, b[whole:have])
		}
	}
}

// offer puts v in place of what was not taken. There is one who offers.
func offer[T any](to chan T, v T) {
	select {
	case <-to:
	default:
	}
	to <- v
}
