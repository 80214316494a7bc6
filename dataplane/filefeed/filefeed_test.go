package filefeed

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
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

		lifecycletest.Run(t, f.Run)
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
		if n := strings.Count(log.String(), "the file says again what is in force"); n != 1 {
			t.Errorf("said %d times that what is wrong is over", n)
		}
	})
}

func TestAFileThatIsGoneIsToldOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		write := writer(t, dir)
		var log waittest.Log
		f := New(Config{
			Path: filepath.Join(dir, "edge.yaml"), Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Apply: func(context.Context, *table.Table) error { return nil },
		})
		write("edge.yaml", one)
		lifecycletest.Run(t, f.Run)
		said := func(gone, again int) {
			t.Helper()
			synctest.Wait()
			if n, m := strings.Count(log.String(), "a file is gone"), strings.Count(log.String(), "no file is missing any more"); n != gone || m != again {
				t.Errorf("%d and %d lines, want %d and %d:\n%s", n, m, gone, again, log.String())
			}
		}
		time.Sleep(2*lookEvery + lookEvery/2) // between two looks
		remove := func() {
			if err := os.Remove(f.c.Path); err != nil {
				t.Fatal(err)
			}
		}
		remove()
		time.Sleep(lookEvery) // one look
		write("edge.yaml", other)
		time.Sleep(3 * lookEvery)
		said(0, 0)
		remove()
		time.Sleep(5 * lookEvery)
		said(1, 0)
		if s := f.State(); s.Running.Version.Revision != 2 || s.Running.Tree.Len() != 1 {
			t.Errorf("%+v", s)
		}
		write("edge.yaml", other)
		time.Sleep(3 * lookEvery)
		said(1, 1)
	})
}
