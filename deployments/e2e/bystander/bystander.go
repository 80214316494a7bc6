//go:build linux

package bystander

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options say who asks whom.
type Options struct {
	// Target is the address that clients ask, with the path "/" of Host.
	Target, Host string
	// Endpoints are addresses that are listened on, with answers whose bodies have Answer bytes.
	Endpoints []string
	Answer    int
	// Rate is in requests a second, on Connections that are kept.
	Rate        float64
	Connections int
	// Warmup is how long what is asked first does not count.
	Warmup time.Duration
	// Timeout is how long what is under way at the end may take.
	Timeout time.Duration
}

// Result is what clients saw, without those who asked in the Warmup.
type Result struct {
	Failed  int
	Failure string // of the first that failed
	// Waited is what clients waited, from when each request was due, and ForTarget what of it they
	// waited for the target: without what endpoints took, and how long clients and endpoints
	// themselves waited for their processor.
	Waited, ForTarget []time.Duration
}

// Serve is the whole program: a line "ask" on the descriptor has clients ask, until the line
// "stop", which is answered with the Result. It begins by writing one, when the endpoints are
// there, and ends with the lines.
func Serve(o Options, lines int, out io.Writer) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	target, err := netip.ParseAddrPort(o.Target)
	if err != nil {
		return err
	}
	l := &loop{Options: o, target: address(target), lines: lines, out: json.NewEncoder(out), peers: map[int]*peer{}}
	l.request = fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", o.Host)
	l.body = fmt.Appendf(nil, "Content-Length: %d\r\n\r\n%s", o.Answer, strings.Repeat("x", o.Answer))
	defer l.close()
	if err := l.open(); err != nil {
		return err
	}
	if err := l.out.Encode(Result{}); err != nil {
		return err
	}
	for !l.ended {
		if err := l.turn(); err != nil {
			return err
		}
	}
	return nil
}

// loop is the one thread.
type loop struct {
	Options
	target        unix.Sockaddr
	request, body []byte
	head          []byte // of an answer
	lines         int
	command       []byte // what came of a line
	out           *json.Encoder
	epoll, timer  int
	peers         map[int]*peer
	free          []*peer // clients that wait for nothing
	clients       int
	ended         bool

	asking, stopping bool
	began            int64   // when it was told to ask
	next             int64   // when the next request is due
	late             []int64 // when those were due for which no client was free
	underway         int     // requests that are due and not answered
	giveUp           int64   // when these should be, once it was told to stop
	result           Result
}

// peer is one socket: of a client, of an endpoint, or an endpoint's that listens.
type peer struct {
	fd     int
	role   role
	buf    []byte
	due    int64 // a client's: when what it waits for was due; 0: for nothing
	sent   int64 // when it was sent, or due if it had to wait for a client
	counts bool
}

type role int

const (
	client role = iota
	endpoint
	listener
)

// now is by the clock that the kernel stamps packets with.
func now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &ts) // fails for no clock that there is
	return ts.Nano()
}

func address(a netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// open makes the descriptors.
func (l *loop) open() (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return err
	}
	if err := errors.Join(l.watch(l.timer), l.watch(l.lines)); err != nil {
		return err
	}
	for _, text := range l.Endpoints {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			return err
		}
		p, err := l.socket(listener)
		if err != nil {
			return err
		}
		if err := errors.Join(unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(p.fd, address(a)), unix.Listen(p.fd, 128)); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		if err := unix.SetNonblock(p.fd, true); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) close() {
	for fd := range l.peers {
		unix.Close(fd)
	}
	unix.Close(l.timer)
	unix.Close(l.epoll)
}

func (l *loop) watch(fd int) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (l *loop) socket(r role) (*peer, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return l.add(fd, r)
}

func (l *loop) add(fd int, r role) (*peer, error) {
	p := &peer{fd: fd, role: r}
	l.peers[fd] = p
	return p, l.watch(fd)
}

// turn waits for what happens, and handles it.
func (l *loop) turn() error {
	var events [64]unix.EpollEvent
	n, err := wait(l.epoll, events[:])
	if err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	for _, e := range events[:max(n, 0)] {
		switch fd := int(e.Fd); fd {
		case l.timer:
			var times [8]byte
			_, _ = unix.Read(l.timer, times[:])
		case l.lines:
			if err := l.read(); err != nil {
				return err
			}
		default:
			if p := l.peers[fd]; p != nil {
				l.ready(p)
			}
		}
	}
	return l.tick(now())
}

// wait is unix.EpollWait without telling Go's scheduler: it would hand the processor to another
// thread, and back, at every wait. So it keeps one of GOMAXPROCS for itself, and no collection of
// garbage may begin.
func wait(epoll int, events []unix.EpollEvent) (int, error) {
	n, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
	if err != 0 {
		return 0, err
	}
	return int(n), nil
}

// read takes what came of lines.
func (l *loop) read() error {
	var buf [64]byte
	n, err := unix.Read(l.lines, buf[:])
	if err != nil {
		return err
	}
	l.ended = n == 0
	l.command = append(l.command, buf[:n]...)
	for {
		line, rest, whole := bytes.Cut(l.command, []byte("\n"))
		if !whole {
			return nil
		}
		switch at := now(); string(line) {
		case "ask":
			l.asking, l.began, l.next = true, at, at
			l.result = Result{}
		case "stop":
			l.asking, l.stopping, l.giveUp = false, true, at+int64(l.Timeout)
		default:
			return fmt.Errorf("%q: expected ask or stop", line)
		}
		l.command = append(l.command[:0], rest...)
	}
}

// tick asks what is due, tells the result when all is answered, and sets the timer.
func (l *loop) tick(at int64) error {
	for len(l.late) > 0 && l.mayAsk() {
		l.ask(l.late[0], l.late[0])
		l.late = l.late[1:]
	}
	for ; l.asking && l.next <= at; l.next += int64(float64(time.Second) / l.Rate) {
		l.underway++
		if len(l.late) == 0 && l.mayAsk() {
			l.ask(l.next, 0)
		} else {
			l.late = append(l.late, l.next)
		}
	}
	if l.stopping && (l.underway == 0 || at >= l.giveUp) {
		if l.underway > 0 {
			return fmt.Errorf("%d requests were not answered within %s", l.underway, l.Timeout)
		}
		l.stopping = false
		if err := l.out.Encode(l.result); err != nil {
			return err
		}
	}
	var until int64
	switch {
	case l.asking:
		until = l.next
	case l.stopping:
		until = l.giveUp
	}
	return unix.TimerfdSettime(l.timer, unix.TFD_TIMER_ABSTIME, &unix.ItimerSpec{Value: unix.NsecToTimespec(until)}, nil)
}

// mayAsk says that a client is free, or may come.
func (l *loop) mayAsk() bool { return l.clients < l.Connections || len(l.free) > 0 }

// ask sends a request, on a new connection until there are enough, then on the one that is free
// for longest: all are used in turn. sent is since when it waits for the target; 0: from now on.
func (l *loop) ask(due, sent int64) {
	var p *peer
	if l.clients < l.Connections {
		var err error
		if p, err = l.connect(); err != nil {
			l.underway--
			l.fail(err.Error())
			return
		}
	} else {
		p = l.free[0]
		l.free = slices.Delete(l.free, 0, 1)
	}
	if sent == 0 {
		sent = now()
	}
	p.due, p.sent, p.counts = due, sent, due >= l.began+int64(l.Warmup)
	if _, err := unix.Write(p.fd, l.request); err != nil {
		l.drop(p, err.Error())
	}
}

// connectTime bounds how long a client waits for a connection, in seconds: nobody is asked or
// answered meanwhile, so it is to be had at once.
const connectTime = 5

func (l *loop) connect() (*peer, error) {
	p, err := l.socket(client)
	if err != nil {
		return nil, err
	}
	l.clients++
	err = errors.Join(
		unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: connectTime}),
		prepare(p.fd),
		unix.Connect(p.fd, l.target),
		unix.SetNonblock(p.fd, true),
	)
	if err != nil {
		l.forget(p)
		return nil, err
	}
	return p, nil
}

// prepare has the kernel send at once what is written, and say when what is read came.
func prepare(fd int) error {
	return errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_RX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE),
	)
}

// receive reads, and says when the last of it came: also where the clock says later, as the
// thread had to wait for its processor.
func receive(fd int, buf []byte) (n int, came int64, err error) {
	var control [128]byte
	n, size, _, _, err := unix.Recvmsg(fd, buf, control[:], 0)
	if err != nil || n == 0 {
		return n, 0, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:size])
	if err != nil {
		return 0, 0, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPING {
			return n, (*unix.Timespec)(unsafe.Pointer(&m.Data[0])).Nano(), nil
		}
	}
	return 0, 0, errors.New("the kernel does not say when something came")
}

// ready handles what came for a socket.
func (l *loop) ready(p *peer) {
	if p.role == listener {
		if fd, _, err := unix.Accept4(p.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC); err == nil {
			if p, err := l.add(fd, endpoint); err != nil || prepare(fd) != nil {
				l.forget(p)
			}
		}
		return
	}
	var buf [16 << 10]byte
	n, came, err := receive(p.fd, buf[:])
	switch {
	case errors.Is(err, unix.EAGAIN):
		return
	case err != nil:
		l.drop(p, err.Error())
		return
	case n == 0:
		l.drop(p, "the target ended the connection")
		return
	}
	p.buf = append(p.buf, buf[:n]...)
	end := bytes.Index(p.buf, []byte("\r\n\r\n")) + 4
	if end < 4 {
		return
	}
	if p.role == endpoint {
		p.buf = p.buf[:0]
		l.head = append(fmt.Appendf(l.head[:0], "HTTP/1.1 200 OK\r\n"+held+"%d\r\n", now()-came), l.body...)
		_, _ = unix.Write(p.fd, l.head)
		return
	}
	if len(p.buf) < end+l.Answer && bytes.HasPrefix(p.buf, []byte("HTTP/1.1 200 ")) {
		return
	}
	l.answered(p, came)
}

// held is the field by which an endpoint says how long it had a request, in ns.
const held = "X-Held: "

// answered takes what a client waited for, and when that came.
func (l *loop) answered(p *peer, came int64) {
	_, rest, _ := bytes.Cut(p.buf, []byte(held))
	text, _, _ := bytes.Cut(rest, []byte("\r\n"))
	elsewhere, err := strconv.ParseInt(string(text), 10, 64)
	if !bytes.HasPrefix(p.buf, []byte("HTTP/1.1 200 ")) || err != nil || p.due == 0 {
		l.drop(p, fmt.Sprintf("answered %.80q", p.buf))
		return
	}
	if p.counts {
		l.result.Waited = append(l.result.Waited, time.Duration(now()-p.due))
		l.result.ForTarget = append(l.result.ForTarget, time.Duration(came-p.sent-elsewhere))
	}
	p.buf, p.due = p.buf[:0], 0
	l.underway--
	l.free = append(l.free, p)
}

// drop ends a connection; what a client waits for on it has failed.
func (l *loop) drop(p *peer, why string) {
	if p.due > 0 {
		l.underway--
		l.fail(why)
	}
	l.forget(p)
}

func (l *loop) forget(p *peer) {
	if p.role == client {
		l.clients--
		l.free = slices.DeleteFunc(l.free, func(f *peer) bool { return f == p })
	}
	delete(l.peers, p.fd)
	unix.Close(p.fd)
}

func (l *loop) fail(why string) {
	l.result.Failed++
	l.result.Failure = cmp.Or(l.result.Failure, why)
}
