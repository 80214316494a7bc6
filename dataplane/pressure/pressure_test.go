package pressure

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestALevelIsLeftLaterThanEntered(t *testing.T) {
	for _, c := range []struct {
		percents []uint64
		want     []Level
	}{
		{[]uint64{0, 84, 85, 83, 82, 81, 85}, []Level{Calm, Calm, High, High, High, Calm, High}},
		{[]uint64{94, 95, 92, 91, 82, 81}, []Level{High, Critical, Critical, High, High, Calm}},
		{[]uint64{100, 50}, []Level{Critical, Calm}},
	} {
		level, got := Calm, []Level(nil)
		for _, p := range c.percents {
			level = next(level, p)
			got = append(got, level)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.percents, got, c.want)
		}
	}
}

// uses are told one after another, the last for ever.
type uses []uint64

func (u *uses) used() (uint64, error) {
	now := (*u)[0]
	if len(*u) > 1 {
		*u = (*u)[1:]
	}
	return now, nil
}

func (*uses) Close() error { return nil }

func TestTheResidentSetOfThisProcessIsRead(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	g, err := openResident()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for range 2 { // the same descriptor again
		if used, err := g.used(); err != nil || used < 1<<20 || used > 1<<36 {
			t.Errorf("%d bytes, %v", used, err)
		}
	}
}

func TestOnlyChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		uses := uses{10, 10, 90, 90, 96, 96, 10}
		m := &Monitor{limit: 100, open: func() (gauge, error) { return &uses, nil }}
		ctx, cancel := context.WithTimeout(t.Context(), 10*Every+time.Millisecond)
		defer cancel()
		var told []Level
		if err := m.Run(ctx, func(l Level) { told = append(told, l) }); err != nil {
			t.Fatal(err)
		}
		if want := []Level{High, Critical, Calm}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
	})
}

func TestTheLowestLimitOfAllGroupsAboveCounts(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  uint64
	}{
		{"version 2", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, 1000},
		{"the nearer is lower", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/b/memory.max": "10\n"}, 10},
		{"version 1", map[string]string{"proc/self/cgroup": "4:memory:/x\n3:cpu:/y\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "500\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 500},
		{"none", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"no cgroups", nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range c.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := cgroupLimit(root); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
