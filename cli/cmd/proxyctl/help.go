package main

import "github.com/spf13/cobra"

const helpName = "help"

// refuseTopics makes help refuse words that name no command: of itself it shows the help
// of what is above them, as if that had been asked for.
func refuseTopics(root *cobra.Command) {
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
}
