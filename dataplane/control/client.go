package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/handover"
)

// ErrNobody says that no node listens.
var ErrNobody = errors.New("control socket: no node listens")

// Upgrade asks the node whose directory is dir for an upgrade, and returns its last
// answer; say gets each line that it tells before.
func Upgrade(ctx context.Context, dir string, r Request, say func(line string)) (Answer, error) {
	path, err := pathIn(dir)
	if err != nil {
		return Answer{}, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return Answer{}, ErrNobody
	case err != nil:
		return Answer{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// The node bounds the upgrade itself; this is for one that hangs.
	if err := conn.SetDeadline(time.Now().Add(r.Timeout() + 6*handover.TurnTimeout)); err != nil {
		return Answer{}, err
	}
	r.Ask = askUpgrade
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return Answer{}, err
	}
	return hear(ctx, conn, say)
}

// hear hears the answer to its end.
func hear(ctx context.Context, conn net.Conn, say func(line string)) (Answer, error) {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var a Answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			return a, fmt.Errorf("the node's answer: %w", err)
		}
		switch {
		case a.Error != "":
			return a, errors.New(a.Error)
		case a.Done:
			return a, nil
		default:
			say(a.Progress)
		}
	}
	if ctx.Err() != nil {
		return Answer{}, errors.New("interrupted: the node goes on with the upgrade")
	}
	if err := lines.Err(); err != nil {
		return Answer{}, fmt.Errorf("the node's answer: %w", err)
	}
	return Answer{}, errors.New("the node ended before it said what became of the upgrade")
}
