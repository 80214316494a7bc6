package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// Exit statuses.
const (
	statusDone     = 0
	statusFailed   = 1
	statusWrongUse = 2
	// statusCannotCompare is diff's failure, since its 1 means that there are
	// differences.
	statusCannotCompare = 3
	statusNoServer      = 4
	// statusInterrupted is what shells make of the end by SIGINT.
	statusInterrupted = 130
)

// ranError is the failure of a command that was used rightly, unless what it
// wraps says otherwise.
type ranError struct{ err error }

func (e *ranError) Error() string { return e.err.Error() }
func (e *ranError) Unwrap() error { return e.err }

// useError is wrong use that only the command itself could see.
type useError struct{ err error }

func (e *useError) Error() string { return e.err.Error() }
func (e *useError) Unwrap() error { return e.err }

func wrongUse(format string, args ...any) error {
	return &useError{fmt.Errorf(format, args...)}
}

// quietError ends the command with a status; everything was said already.
type quietError struct{ status int }

func (e *quietError) Error() string { return "exit status " + strconv.Itoa(e.status) }

// statusError gives an error a status of its own.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// manyErrors are several failures of one command, each to be told.
type manyErrors []error

func (e manyErrors) Error() string   { return errors.Join(e...).Error() }
func (e manyErrors) Unwrap() []error { return e }

// orNil is the error: none, the only one, or all.
func (e manyErrors) orNil() error {
	switch len(e) {
	case 0:
		return nil
	case 1:
		return e[0]
	default:
		return e
	}
}

func failure(format string, args ...any) error { return fmt.Errorf(format, args...) }

// exitStatus is the one table from errors to exit statuses.
func exitStatus(err error) int {
	var ran *ranError
	var use *useError
	var quiet *quietError
	var status *statusError
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &quiet):
		return quiet.status
	case errors.As(err, &use), !errors.As(err, &ran):
		return statusWrongUse
	case errors.Is(err, context.Canceled):
		return statusInterrupted
	case errors.Is(err, client.ErrNoServer):
		return statusNoServer
	case errors.As(err, &status):
		return status.status
	default:
		return statusFailed
	}
}

// finish says what went wrong and returns the exit status.
func (a *app) finish(cmd *cobra.Command, err error) int {
	status := exitStatus(err)
	var quiet *quietError
	switch {
	case err == nil || errors.As(err, &quiet):
	case a.output == formatJSON:
		a.printErrorJSON(err, status)
	default:
		a.printError(cmd, err, status)
	}
	return status
}

func (a *app) printError(cmd *cobra.Command, err error, status int) {
	on := a.colours(a.stderr)
	for _, one := range apart(err) {
		var refused *api.Error
		if errors.As(one, &refused) {
			for _, p := range refused.Problems {
				if refused.Type == api.TypeReferenced {
					// The server says how the reference would dangle; here it only stands in the way.
					p.Got, p.Expected, p.Suggestion = "refers to it", "", ""
				}
				a.note("%s", problemLine(p, on))
			}
		}
		// The first line is the sentence; what follows is material, such as a log.
		label := paint(on, red, "error:") + " "
		for line := range strings.Lines(errorText(one)) {
			a.note("%s%s", label, visible(strings.TrimSuffix(line, "\n")))
			label = ""
		}
	}
	if hint := a.hint(cmd, err, status); hint != "" {
		a.note("%s", hint)
	}
}

// apart is the failures that an error consists of.
func apart(err error) []error {
	var many manyErrors
	if errors.As(err, &many) {
		return many
	}
	return []error{err}
}

// errorText is the error without what problemLine says.
func errorText(err error) string {
	var refused *api.Error
	if errors.As(err, &refused) {
		text := refused.Detail
		if text == "" {
			text = strings.TrimSuffix(refused.Title, ".")
		}
		if refused.Type == api.TypeInvalid {
			text = "refused: " + counted(len(refused.Problems), "problem") + "; nothing was changed"
		}
		// Around it stands what a command added: which resource, which file.
		return strings.Replace(err.Error(), refused.Error(), text, 1)
	}
	if errors.Is(err, context.Canceled) {
		return strings.Replace(err.Error(), context.Canceled.Error(), "interrupted", 1)
	}
	return err.Error()
}

// hint is what to do about an error.
func (a *app) hint(cmd *cobra.Command, err error, status int) string {
	var refused *api.Error
	switch {
	case status == statusNoServer:
		return "Is the control plane running? `proxyctl demo` starts a fleet on this machine; " +
			"--server or `proxyctl context use` name another one."
	case status == statusWrongUse && cmd != nil:
		if cmd.Name() == helpName {
			cmd = cmd.Root() // whose help tells the commands that there are
		}
		hint := "Run '" + cmd.CommandPath() + " --help' for usage."
		if line := exampleOf(cmd); line != "" && cmd.HasParent() {
			hint = "For example: " + line + "\n" + hint
		}
		return hint
	case !errors.As(err, &refused):
		return ""
	case refused.Type == api.TypeShrinks:
		return "If that is meant, say --allow-shrink."
	case refused.Type == api.TypeStale && refused.Revision > 0:
		return fmt.Sprintf("The fleet is at revision %d now.", refused.Revision)
	default:
		return ""
	}
}

// exampleOf is the first line of a command's examples that is the command itself.
func exampleOf(cmd *cobra.Command) string {
	for line := range strings.Lines(cmd.Example) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		if strings.HasPrefix(line, cmd.CommandPath()+" ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// missingFlags, missingOne and exclusive are what cobra says by texts alone.
var (
	missingFlags = regexp.MustCompile(`^required flag\(s\) (.*) not set$`)
	missingOne   = regexp.MustCompile(`^at least one of the flags in the group \[(.*)\] is required$`)
	exclusive    = regexp.MustCompile(`^if any flags in the group .* are set none of the others can be; \[(.*)\] were all set$`)
)

// plainly says what cobra found wrong with flags as the rest of proxyctl does.
func plainly(err error) error {
	dashed := func(names string) []string {
		var flags []string
		for name := range strings.FieldsSeq(names) {
			flags = append(flags, "--"+strings.Trim(name, `",`))
		}
		return flags
	}
	text := err.Error()
	if m := missingFlags.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s: missing", strings.Join(dashed(m[1]), ", "))
	}
	if m := missingOne.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("expected one of %s", strings.Join(dashed(m[1]), ", "))
	}
	if m := exclusive.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s exclude each other", strings.Join(dashed(m[1]), " and "))
	}
	return err
}

// errorDocument is a problem document (RFC 9457): the control plane's own, or
// one about what went wrong on this side, which has no HTTP status.
type errorDocument struct {
	Type       api.ErrorType `json:"type"`
	Title      string        `json:"title"`
	Status     int           `json:"status,omitempty"`
	Detail     string        `json:"detail,omitempty"`
	Problems   []api.Problem `json:"problems,omitempty"`
	Revision   uint64        `json:"revision,omitempty"`
	ExitStatus int           `json:"exitStatus"`
}

// printErrorJSON prints the error as a problem document on standard error.
func (a *app) printErrorJSON(err error, status int) {
	d := errorDocument{Type: "about:blank", Title: "The command failed.", ExitStatus: status}
	switch status {
	case statusNoServer:
		d.Title = "No control plane answers."
	case statusWrongUse:
		d.Title = "The command line cannot be read."
	}
	failures := apart(err)
	var texts []string
	for _, one := range failures {
		texts = append(texts, errorText(one))
		var refused *api.Error
		if !errors.As(one, &refused) {
			continue
		}
		d.Problems = append(d.Problems, refused.Problems...)
		if len(failures) == 1 {
			d.Type, d.Title, d.Status, d.Revision = refused.Type, refused.Title, refused.Status, refused.Revision
		}
	}
	d.Detail = strings.Join(texts, "\n")
	e := json.NewEncoder(a.stderr)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	// There is nobody left to tell.
	_ = e.Encode(d)
}

// problemLine is one problem on one line, its place first, as compilers write it.
func problemLine(p api.Problem, colour bool) string {
	place := p.File
	if place != "" && p.Line > 0 {
		place += ":" + strconv.Itoa(p.Line)
	}
	if place != "" {
		place = paint(colour, bold, visible(place)+":") + " "
	}
	var what string
	if p.Kind != "" || p.Name != "" {
		what = resourceName(p.Kind, p.Name) + ": "
	}
	if p.Field != "" {
		what += p.Field + ": "
	}
	return place + visible(what+problemText(p))
}

// problemText is what is wrong, without the place.
func problemText(p api.Problem) string {
	suggestion := p.Suggestion
	p.Suggestion = ""
	if p.Got == "an unknown field" && suggestion != "" {
		p.Got, p.Expected = "unknown field", "" // the one that was meant, not all that there are
	}
	text := resource.Problem(p).Message()
	if suggestion != "" {
		text += fmt.Sprintf(" (did you mean %q?)", suggestion)
	}
	return text
}

func resourceName(kind, name string) string {
	if kind == "" {
		kind = "?"
	}
	if name == "" {
		name = "?"
	}
	return kind + "/" + name
}
