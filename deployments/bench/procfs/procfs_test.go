package procfs

import (
	"os"
	"runtime"
	"testing"
)

func TestStatIsReadBehindAnyName(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Stat
	}{
		{
			"2365 (cat) R 2360 2360 438 0 -1 4194304 101 0 0 0 11 12 13 14 20 0 1 0 514959 3133440 412\n",
			Stat{PID: 2365, Parent: 2360, User: 11, System: 12, ChildrenUser: 13, ChildrenSystem: 14},
		},
		{
			"7 (a) R 1 (b) c) S 5 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 5 6 7",
			Stat{PID: 7, Parent: 5, User: 1, System: 2, ChildrenUser: 3, ChildrenSystem: 4},
		},
	} {
		got, err := ParseStat(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%q: %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
	}
	for _, text := range []string{"", "1 cat R 2", "1 (cat) R 2 3", "x (cat) R 1 1 1 0 -1 0 0 0 0 0 1 2 3 4 20", ")1(", "1 (cat) R 1 1 1 0 -1 0 0 0 0 0 x 2 3 4 20"} {
		if s, err := ParseStat(text); err == nil {
			t.Errorf("%q was read as %+v", text, s)
		}
	}
}

func TestSizesAreBytes(t *testing.T) {
	got := ParseSizes("Name:\tcat\nVmHWM:\t    1612 kB\nThreads:\t1\n564950e55000-7fff6fe59000 ---p 00000000 00:00 0   [rollup]\nPrivate_Dirty:       108 kB\n")
	if len(got) != 2 || got["VmHWM"] != 1612<<10 || got["Private_Dirty"] != 108<<10 {
		t.Error(got)
	}
}

func TestProcessorsAreToldApart(t *testing.T) {
	const text = "cpu  523537 1924 73154 424303 1030 0 1880 233 0 0\n" +
		"cpu0 10 20 30 400 5 6 7 8 9 9\ncpu11 1 2 3 4 5 6 7 8 0 0\nintr 5 5 5\n"
	got, err := ParseProcessors(text)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	if want := (Processor{Busy: 73, Idle: 405, Steal: 8}); got[0] != want {
		t.Errorf("%+v, want %+v", got[0], want)
	}
	if want := (Processor{Busy: 19, Idle: 9, Steal: 8}); got[11] != want {
		t.Errorf("%+v, want %+v", got[11], want)
	}
	if _, err := ParseProcessors("intr 5\n"); err == nil {
		t.Error("no processor, and no error")
	}
}

func TestAFamilyIsAllThatDescend(t *testing.T) {
	all := []Stat{
		{PID: 9, Parent: 8}, // before its parent
		{PID: 8, Parent: 5, User: 3, ChildrenUser: 4}, {PID: 5, Parent: 1, System: 7}, {PID: 6, Parent: 1}, {PID: 1},
	}
	got := Family(5, all)
	if len(got) != 3 || got[0].PID != 9 || got[1].PID != 8 || got[2].PID != 5 {
		t.Fatalf("%+v", got)
	}
	u := Used(got)
	if u.User.Milliseconds() != 70 || u.System.Milliseconds() != 70 || len(u.PIDs) != 3 {
		t.Errorf("%+v", u)
	}
}

func TestThisProcessIsFound(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc on " + runtime.GOOS)
	}
	tree, err := Tree(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	pids := Used(tree).PIDs
	peak, err := Peak(pids)
	if err != nil || peak < 1<<20 {
		t.Errorf("peak %d, %v", peak, err)
	}
	if dirty, err := PrivateDirty(pids); err != nil || dirty == 0 {
		t.Errorf("private %d, %v", dirty, err)
	}
	if n, err := Descriptors(pids); err != nil || n < 3 {
		t.Errorf("%d descriptors, %v", n, err)
	}
	if _, err := Processors(); err != nil {
		t.Error(err)
	}
	if _, err := Tree(1 << 30); err == nil {
		t.Error("a process that is not there was found")
	}
}
