package filefeed

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

const (
	one   = "kind: Listener\nname: web\nspec: {port: 80, protocol: HTTP}\n"
	other = "kind: Listener\nname: web\nspec: {port: 81, protocol: HTTP}\n"
	wrong = "kind: Listener\nname: web\nspec: {port: eighty, protocol: HTTP}\n"
)

func TestTheLastGoodResourcesStayWhateverTheFileSays(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		write := writer(t, dir)
		var refuse atomic.Bool
		var applied atomic.Uint64 // revision
		var log bytes.Buffer
		f := New(Config{
			Path: filepath.Join(dir, "edge.yaml"), Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Apply: func(_ context.Context, next *table.Table) error {
				if refuse.Load() {
					return errors.New("the port is in use")
				}
				applied.Store(next.Version.Revision)
				return nil
			},
		})
		if err := f.Check(); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("without a file: %v", err)
		}
		if write("edge.yaml", wrong); f.Check() == nil {
			t.Error("a file that does not hold is no reason not to start")
		}
		write("edge.yaml", one)
		if err := f.Check(); err != nil || applied.Load() != 0 {
			t.Errorf("%v, applied revision %d", err, applied.Load())
		}

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		stands := func(name string, revision uint64, problems int, failed string, retrying bool) {
			t.Helper()
			synctest.Wait()
			s := f.State()
			if s.Running.Version.Revision != revision || applied.Load() != revision || s.Running.Tree.Len() != 1 ||
				len(s.Problems) != problems || s.LastError != failed || s.Retrying != retrying {
				t.Errorf("%s: applied %d, %+v", name, applied.Load(), s)
			}
		}
		wait := func() { time.Sleep(3 * lookEvery) } // a change is seen, and then has to rest
		stands("at the start", 1, 0, "", false)
		write("edge.yaml", wrong)
		wait()
		stands("a file that does not hold", 1, 1, "", false)
		write("edge.yaml", one)
		wait()
		stands("the same as before", 1, 0, "", false)
		refuse.Store(true)
		write("edge.yaml", other)
		f.Reload()
		stands("what cannot be applied", 1, 0, "the port is in use", true)
		wait()
		refuse.Store(false)
		wait()
		stands("what can be applied later", 2, 0, "", false)
		if n := strings.Count(log.String(), "the port is in use"); n != 1 {
			t.Errorf("said %d times that the port is in use", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
