package lastgood

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/proto/durable"
)

const (
	// The file that is there says whether the node is drained. Of both, which a crash can
	// leave, the one with the later decision counts.
	drainedName   = "drained"
	undrainedName = "undrained"
	// What their lines say, but for the note; builds before had the note only.
	decisionLine    = "decision "
	notExpectedLine = "not expected"
	// maxDecision is far more than they take.
	maxDecision = 4 << 10
)

// LoadDecision reads what SaveDecision kept in a directory; none: the zero
// Decision.
func LoadDecision(dir string) (member.Decision, error) {
	d, is, err := readDecision(dir, drainedName)
	if err == nil {
		d.Drained = is
		var undrained member.Decision
		if undrained, is, err = readDecision(dir, undrainedName); is && (!d.Drained || undrained.Number > d.Number) {
			d = undrained
		}
	}
	if err != nil {
		return member.Decision{}, fmt.Errorf("whether the node is drained: %w", err)
	}
	return d, nil
}

// readDecision reads one of the files, and tells whether it is there.
func readDecision(dir, name string) (d member.Decision, is bool, err error) {
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d, false, nil
	}
	if err != nil {
		return d, false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDecision))
	if err != nil {
		return d, false, err
	}
	if d, err = parseDecision(string(text)); err != nil {
		return d, false, fmt.Errorf("%s: %w", path, err)
	}
	return d, true, nil
}

// parseDecision reads what appendDecision wrote, but for whether the node is drained.
func parseDecision(text string) (d member.Decision, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if number, ok := strings.CutPrefix(line, decisionLine); ok {
			if d.Number, err = strconv.ParseUint(number, 10, 64); err != nil {
				return member.Decision{}, errDamaged
			}
		}
		d.NotExpected = d.NotExpected || line == notExpectedLine
	}
	return d, nil
}

func appendDecision(text []byte, d member.Decision) []byte {
	text = append(append(text, decisionLine...), strconv.FormatUint(d.Number, 10)...)
	text = append(text, '\n')
	if d.NotExpected {
		text = append(text, notExpectedLine+"\n"...)
	}
	return text
}

// SaveDecision keeps a decision: when it returns nil, LoadDecision will return that,
// whatever happens to the machine. note is a line for people who find the file of a node
// that is drained.
func SaveDecision(dir string, d member.Decision, note string) error {
	name, other := undrainedName, drainedName
	var text []byte
	if d.Drained {
		name, other, text = drainedName, undrainedName, []byte(note+"\n")
	}
	err := durable.Replace(filepath.Join(dir, name), appendDecision(text, d), nil)
	if err == nil {
		err = durable.Remove(filepath.Join(dir, other))
	}
	if err != nil {
		return fmt.Errorf("whether the node is drained: %w", err)
	}
	return nil
}
