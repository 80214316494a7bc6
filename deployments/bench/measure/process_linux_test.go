package measure

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestProcessesStayOnTheirProcessorAndEnd(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Skip("cat is not installed")
	}
	s := newStarter()
	defer s.close()
	p, err := start(s, spawn{name: "cat", args: []string{cat}, dir: t.TempDir(), pipes: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	if _, err := io.WriteString(p.stdin, "hello\n"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 6)
	if _, err := io.ReadFull(p.stdout, answer); err != nil || string(answer) != "hello\n" {
		t.Fatalf("%q, %v", answer, err)
	}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid()), "status"))
	if err != nil || !strings.Contains(string(status), "Cpus_allowed_list:\t0\n") {
		t.Errorf("%v: %s", err, status)
	}
	p.stop()
	if !p.ended() {
		t.Error("it has not ended")
	}
	p.stop() // again is fine
}

func TestWhatAProcessSaidStandsInTheError(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("sh is not installed")
	}
	s := newStarter()
	defer s.close()
	p, err := start(s, spawn{name: "proxy", args: []string{sh, "-c", "echo no such backend >&2; exit 3"}, dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if text := p.trouble(p.err).Error(); text != "proxy: exit status 3: no such backend" {
		t.Error(text)
	}
}

func TestAProgramThatIsNotThereIsAnError(t *testing.T) {
	s := newStarter()
	defer s.close()
	if _, err := start(s, spawn{name: "proxy", args: []string{"/does/not/exist"}, dir: t.TempDir()}); err == nil {
		t.Error("it was started")
	}
}
