package session

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// TestSessionsAnswerAsTheScriptsSay runs testdata/*.txt. A line is a command, and what follows "=>"
// is what the session must answer: "send BASE TARGET" or "-", and its state. "want"
// and "send" say "accepted" when the epoch is; "want" says "unsent" when nothing of the update
// in flight was sent.
// Versions are written epoch/revision/content, "none" is no version; a base is
// written as content, "whole" when it is empty.
func TestSessionsAnswerAsTheScriptsSay(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScenario(t, file) })
	}
}

func runScenario(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var s Session
	names := map[tree.Hash]string{}
	scan := bufio.NewScanner(f)
	for n := 1; scan.Scan(); n++ {
		line, _, _ := strings.Cut(scan.Text(), "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if line == "new stream" {
			s = Session{}
			continue
		}
		command, want, ok := strings.Cut(line, "=>")
		if !ok {
			t.Fatalf("%s:%d: no =>", file, n)
		}
		in, err := parseInput(strings.Fields(command), names)
		if err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
		action, outcome := s.Step(in)
		got := describe(action, outcome, &s, names)
		if want = strings.Join(strings.Fields(want), " "); got != want {
			t.Fatalf("%s:%d: %s\n got: %s\nwant: %s", file, n, strings.TrimSpace(command), got, want)
		}
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
}

func parseInput(words []string, names map[tree.Hash]string) (Input, error) {
	if len(words) == 0 {
		return Input{}, fmt.Errorf("empty command")
	}
	kinds := map[string]InputKind{"hello": Hello, "want": Want, "ack": Ack, "nack": Nack, "disconnect": Disconnect}
	in := Input{Kind: kinds[words[0]]}
	if in.Kind == 0 {
		return in, fmt.Errorf("unknown command %q", words[0])
	}
	if in.Kind == Disconnect {
		return in, nil
	}
	if len(words) < 2 {
		return in, fmt.Errorf("%s: no version", words[0])
	}
	v, err := parseVersion(words[1], names)
	if err != nil {
		return in, err
	}
	in.Version = v
	in.Accepted = in.Kind == Want && len(words) == 3 && words[2] == "accepted"
	in.Unsent = in.Kind == Want && len(words) == 3 && words[2] == "unsent"
	if in.Kind == Nack {
		if len(words) != 3 {
			return in, fmt.Errorf("nack: no reason")
		}
		switch words[2] {
		case "permanent":
			in.Reason = Permanent
		case "local":
			in.Reason = Local
		case "base-mismatch":
			in.Reason = BaseMismatch
		case "held":
			in.Reason = Hold
		case "unknown":
			in.Reason = Reason(200)
		default:
			return in, fmt.Errorf("nack: unknown reason %q", words[2])
		}
	}
	return in, nil
}

func parseVersion(text string, names map[tree.Hash]string) (tree.Version, error) {
	if text == "none" {
		return tree.Version{}, nil
	}
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return tree.Version{}, fmt.Errorf("version %q: want epoch/revision/content", text)
	}
	epoch, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil {
		return tree.Version{}, err
	}
	revision, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return tree.Version{}, err
	}
	root := tree.Sum([]byte(parts[2]))
	names[root] = parts[2]
	return tree.Version{Epoch: epoch, Revision: revision, Root: root}, nil
}

func describe(a Action, o Outcome, s *Session, names map[tree.Hash]string) string {
	out := "-"
	if a.Send {
		base := "whole"
		if !a.Base.IsZero() {
			base = names[a.Base]
		}
		out = fmt.Sprintf("send %s %d/%d/%s", base, a.Target.Epoch, a.Target.Revision, names[a.Target.Root])
		if a.Accepted {
			out += " accepted"
		}
	}
	if o == Ignored {
		out += " ignored"
	}
	return out + " " + s.State().String()
}

// FuzzStep feeds arbitrary inputs: no panic, and never two unanswered updates.
func FuzzStep(f *testing.F) {
	f.Add([]byte{1, 0, 0, 2, 1, 0, 3, 1, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		var s Session
		for len(script) >= 3 {
			v := tree.Version{Epoch: 1, Revision: uint64(script[1] % 8)}
			if script[1]%8 == 0 {
				v = tree.Version{}
			}
			before := s.InFlight()
			in := Input{Kind: InputKind(script[0] % 7), Version: v, Reason: Reason(script[2] % 5), Accepted: script[2]&0x80 != 0, Unsent: script[2]&0x40 != 0}
			a, _ := s.Step(in)
			if a.Send {
				answered := (in.Kind == Ack || in.Kind == Nack) && in.Version == before || in.Kind == Want && in.Unsent
				if !before.IsZero() && !answered {
					t.Fatalf("%+v sent %v while %v is unanswered", in, a.Target, before)
				}
				if s.InFlight() != a.Target || s.State() != InFlight {
					t.Fatalf("sent %v, but in flight is %v in state %v", a.Target, s.InFlight(), s.State())
				}
			}
			script = script[3:]
		}
	})
}
