package waittest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// failing is a test that notes how it failed.
type failing struct {
	testing.TB
	how string
}

func (*failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.how = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestAWaitEndsSoonAfterItBecomesTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		waittest.Until(t, "a second is over", func() bool { return time.Since(begin) >= time.Second })
		if late := time.Since(begin) - time.Second; late > 2*time.Millisecond {
			t.Errorf("%v late", late)
		}
	})
}

func TestAWaitInVainFailsItsTestWithWhatWasFoundLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{TB: t}
		looks := 0
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			waittest.UntilSo(f, func() (string, bool) { looks++; return fmt.Sprintf("look %d", looks), false })
		}()
		<-ended
		if looks < 100 || !strings.HasSuffix(f.how, fmt.Sprintf(": look %d", looks)) {
			t.Errorf("after %d looks: %q", looks, f.how)
		}
	})
}
