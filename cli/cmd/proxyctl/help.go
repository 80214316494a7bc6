package main

import "github.com/spf13/cobra"

const helpName = "help"

// refuseTopics makes help refuse words that name no command, whether the command help or
// the flag asks for it: of themselves both show the help of what is above them. What the
// flag was refused is in a.noHelp.
func (a *app) refuseTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, help := range root.Commands() {
		if help.Name() != helpName {
			continue
		}
		help.Args = func(_ *cobra.Command, topic []string) error {
			cmd, rest, err := root.Find(topic)
			if err == nil && cmd.HasSubCommands() {
				err = cmd.ValidateArgs(rest)
			}
			return err
		}
	}
	show := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd.HasSubCommands() {
			if a.noHelp = cmd.ValidateArgs(cmd.Flags().Args()); a.noHelp != nil {
				return
			}
		}
		show(cmd, args)
	})
}
