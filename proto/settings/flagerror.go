package settings

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// Command is what WrongFlag looks at of a command of cobra's, which only the mains know.
type Command interface {
	Flags() *pflag.FlagSet
	HasSubCommands() bool
	ValidateArgs(args []string) error
}

// WrongFlag says in words what pflag found wrong with a command line, and which of the flags
// was probably meant. A command that does not exist has no flags, and is what is wrong then:
// of a command that has others ValidateArgs is to refuse words that name none of them, as
// NoSuchCommand does. Other errors stay as they are.
func WrongFlag[C Command](c C, err error) error {
	if c.HasSubCommands() {
		if noCommand := c.ValidateArgs(c.Flags().Args()); noCommand != nil {
			return noCommand
		}
	}
	return flagError(c.Flags(), err)
}

func flagError(f *pflag.FlagSet, err error) error {
	var unknown *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	var wrong *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return errors.New(unknownFlag(f, unknown))
	case errors.As(err, &empty):
		return fmt.Errorf("--%s: expected a value (%s)", empty.GetFlag().Name, usage(empty.GetFlag()))
	case errors.As(err, &wrong):
		return fmt.Errorf("--%s: %w", wrong.GetFlag().Name, valueError(err))
	default:
		return err
	}
}

// NoSuchCommand refuses words that name no command. near finds the commands that look
// like one of them, the nearest first.
func NoSuchCommand(args []string, near func(string) []string) error {
	if len(args) == 0 {
		return nil
	}
	if meant := near(args[0]); len(meant) > 0 {
		return fmt.Errorf("unknown command %q (did you mean %q?)", args[0], meant[0])
	}
	return fmt.Errorf("unknown command %q", args[0])
}

func unknownFlag(f *pflag.FlagSet, unknown *pflag.NotExistError) string {
	text, meant := "unknown flag: --"+unknown.GetSpecifiedName(), unknown.GetSpecifiedName()
	if letters := unknown.GetSpecifiedShortnames(); letters != "" {
		text, meant = "unknown flag: -"+letters[:1], letters
		if len(letters) > 1 {
			text += " in -" + letters
		}
	}
	meant, _, _ = strings.Cut(meant, "=")
	var names []string
	f.VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			names = append(names, flag.Name)
		}
	})
	switch near := resource.Nearest(meant, names); {
	case f.Lookup(meant) != nil: // one dash
		return text + fmt.Sprintf(" (did you mean --%s?)", meant)
	case near != "" && len(meant) > 1:
		return text + fmt.Sprintf(" (did you mean --%s?)", near)
	default:
		return text
	}
}

// usage is what the help says of a flag.
func usage(flag *pflag.Flag) string {
	_, text := pflag.UnquoteUsage(flag)
	return text
}

// valueError says what a flag's value should be, without the flag. Errors that are of no
// value stay as they are.
func valueError(err error) error {
	var wrong *pflag.InvalidValueError
	if !errors.As(err, &wrong) {
		return err
	}
	switch kind := wrong.GetFlag().Value.Type(); {
	case kind == "bool":
		return fmt.Errorf("%q: expected true or false", wrong.GetValue())
	case kind == "duration":
		return fmt.Errorf("%q: expected a duration, such as 30s or 1m30s", wrong.GetValue())
	case errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("%q: the number is too large or too small", wrong.GetValue())
	case errors.Is(err, strconv.ErrSyntax):
		return fmt.Errorf("%q: expected a whole number", wrong.GetValue())
	default:
		return fmt.Errorf("%q: %w", wrong.GetValue(), errors.Unwrap(wrong))
	}
}
