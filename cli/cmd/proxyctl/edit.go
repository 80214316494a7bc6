package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// editMark begins the lines that edit puts on top of a text and takes off again.
const editMark = "#| "

func (a *app) editCommand() *cobra.Command {
	var flags writeFlags
	cmd := &cobra.Command{
		Use:   "edit KIND NAME | KIND/NAME",
		Short: "Change a resource in an editor",
		Long: `Change a resource in an editor: that of VISUAL or EDITOR, else vi (notepad on
Windows), with the words that the variable has behind its name. A refused text is
opened again with the problems on top; saving it unchanged ends the command. A text
that was changed and not applied is kept in its file, and so is one that a script
changes again and again, and that stays refused.`,
		Example: `  proxyctl edit route/api
  EDITOR="code --wait" proxyctl edit upstream front --wait`,
		Args:              takes(1, 2),
		ValidArgsFunction: a.completeNamed,
		RunE: runner(func(ctx context.Context, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			o, err := parseOne(args)
			if err != nil {
				return err
			}
			if o.kind.Kind == resource.Node && (flags.DryRun || flags.wait) {
				return wrongUse("a node has neither --dry-run nor --wait: it is no part of the configuration")
			}
			return a.withClient(func(c *client.Client) error { return a.edit(ctx, c, o, flags) })
		}),
	}
	flags.add(cmd)
	offer(cmd)
	return cmd
}

const (
	// hasty is how soon nobody has read what an editor shows and written something else.
	hasty = time.Second
	// maxHasty is how many refused texts of such an editor in a row are enough: it changes
	// each, and none is better than the one before.
	maxHasty = 5
	// maxEdits bounds them all: a script may be slow.
	maxEdits = 100
)

// edit opens the resource, and again as long as the text is refused and changes.
func (a *app) edit(ctx context.Context, c *client.Client, o object, flags writeFlags) error {
	text, tag, err := getText(ctx, c, o)
	if err != nil {
		return objectError(o, err)
	}
	flags.IfMatch = tag
	file, err := editFile(o)
	if err != nil {
		return err
	}
	top := []string{"Save and leave to change " + o.String() + ". An empty text changes nothing."}
	last := text
	var refused *api.Error // the last time
	for inVain, inHaste := 1, 0; ; inVain++ {
		begun := a.now()
		edited, err := a.editOnce(ctx, file, top, last)
		if inHaste++; a.now().Sub(begun) >= hasty {
			inHaste = 0
		}
		switch {
		case err != nil:
			return leftBehind(err, file, text)
		case isEmptyText(edited) || bytes.Equal(edited, text):
			a.note("%s: nothing to change", o)
			return os.Remove(file)
		case bytes.Equal(edited, last):
			return givenUp(o, refused, file)
		}
		last = edited
		report, err := a.putText(ctx, c, o, edited, flags)
		switch {
		case err == nil && flags.DryRun:
			a.note("%s: the text is in %s", o, file)
			return report()
		case err == nil:
			return errors.Join(os.Remove(file), report())
		case errors.As(err, &refused) && (refused.Type == api.TypeInvalid || refused.Type == api.TypeMalformed):
			if inHaste == maxHasty || inVain == maxEdits {
				return givenUp(o, refused, file)
			}
			top = problemComments(refused)
		default:
			return leftBehind(err, file, text)
		}
	}
}

// givenUp ends edit with a text that is refused, and why: an editor that nobody looks at has
// shown the problems to nobody.
func givenUp(o object, refused *api.Error, file string) error {
	return fmt.Errorf("%s: not changed: %w; the refused text is in %s", o, refused, file)
}

// leftBehind ends edit with a failure. The file stays if anything was changed in it.
func leftBehind(err error, file string, text []byte) error {
	left, unread := os.ReadFile(file)
	if unread == nil && (isEmptyText(left) || bytes.Equal(withoutTop(left), text)) {
		return errors.Join(err, os.Remove(file))
	}
	return fmt.Errorf("%w; the text is in %s", err, file)
}

// isEmptyText reports whether a text has neither values nor anything else but comments.
func isEmptyText(text []byte) bool {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

func getText(ctx context.Context, c *client.Client, o object) ([]byte, string, error) {
	if o.kind.Kind == resource.Node {
		return c.NodeYAML(ctx, o.name)
	}
	return c.GetYAML(ctx, o.kind.Plural, o.name)
}

// putText makes the change; report says what became of it, and waits if it is told to.
func (a *app) putText(ctx context.Context, c *client.Client, o object, text []byte, flags writeFlags) (report func() error, err error) {
	if o.kind.Kind == resource.Node {
		n, err := c.PutNode(ctx, o.name, text, flags.Write)
		return func() error { return a.show(n, func() { a.printf("%s configured\n", o) }) }, err
	}
	result, err := c.Put(ctx, o.kind.Plural, o.name, text, flags.Write)
	return func() error { return a.changed(ctx, c, result, flags) }, err
}

// editFile makes the file for the text; only its owner can read it.
func editFile(o object) (string, error) {
	f, err := os.CreateTemp("", "proxyctl-edit-"+strings.ToLower(o.kind.Kind)+"-*.yaml")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// editOnce shows the text below the top lines and returns what became of it,
// without them.
func (a *app) editOnce(ctx context.Context, file string, top []string, text []byte) ([]byte, error) {
	var b bytes.Buffer
	for _, line := range top {
		b.WriteString(editMark + line + "\n")
	}
	b.Write(text)
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		return nil, err
	}
	editor := cmp.Or(strings.TrimSpace(a.getenv("VISUAL")), strings.TrimSpace(a.getenv("EDITOR")), defaultEditor())
	if err := a.runEditor(ctx, editor, file); err != nil {
		return nil, fmt.Errorf("editor %q: %w", editor, err)
	}
	edited, err := os.ReadFile(file)
	return withoutTop(edited), err
}

// withoutTop takes off again what editOnce put on top of a text.
func withoutTop(text []byte) []byte {
	for bytes.HasPrefix(text, []byte(strings.TrimSpace(editMark))) {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return text
}

// problemComments says on top of a text why it was refused. Lines count in the
// file that is shown, these comments included.
func problemComments(e *api.Error) []string {
	if len(e.Problems) == 0 {
		return []string{"Refused: " + strings.ReplaceAll(errorText(e), "\n", " ")}
	}
	lines := []string{"Refused. Change it and save again; saved unchanged, it is given up."}
	for _, p := range e.Problems {
		line := problemText(p)
		if p.Field != "" {
			line = p.Field + ": " + line
		}
		if p.Line > 0 {
			line = fmt.Sprintf("line %d: %s", p.Line+len(e.Problems)+1, line)
		}
		lines = append(lines, visible(line))
	}
	return lines
}

func defaultEditor() string {
	if runtime.GOOS == "windows" {
		return "notepad"
	}
	return "vi"
}

// runEditor runs the editor in the foreground. The command line may have
// arguments, as shells take it elsewhere.
func runEditor(_ context.Context, editor, file string) error {
	var cmd *exec.Cmd
	if runtime.GOOS == "windows" {
		words := append(strings.Fields(editor), file)
		cmd = exec.Command(words[0], words[1:]...)
	} else {
		cmd = exec.Command("/bin/sh", "-c", editor+` "$1"`, "sh", file)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
