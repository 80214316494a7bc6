package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// defaultHistory is how many changes history shows.
const defaultHistory = 20

func (a *app) historyCommand() *cobra.Command {
	var limit int
	var before uint64
	cmd := &cobra.Command{
		Use:   "history [REVISION]",
		Short: "List the changes, newest first, or show what one of them did",
		Example: `  proxyctl history
  proxyctl history --limit 100 --before 400
  proxyctl history 41            # who, when, why, and the diff`,
		Args:              takes(0, 1),
		ValidArgsFunction: first(a.completeRevisions),
		RunE: runner(func(ctx context.Context, args []string) error {
			if limit < 1 {
				return wrongUse("--limit %d: expected 1 or more", limit)
			}
			return a.withClient(func(c *client.Client) error {
				if len(args) == 1 {
					return a.showChange(ctx, c, args[0])
				}
				entries, err := readHistory(ctx, c, before, limit)
				if err != nil {
					return err
				}
				return a.show(api.HistoryList{Items: entries}, func() { a.printHistory(entries) })
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultHistory, "how many changes at most")
	cmd.Flags().Uint64Var(&before, "before", 0, "only changes before this revision")
	offer(cmd, formatWide)
	return cmd
}

// readHistory reads pages until it has limit changes.
func readHistory(ctx context.Context, c *client.Client, before uint64, limit int) ([]api.HistoryEntry, error) {
	entries := []api.HistoryEntry{}
	for {
		page, err := c.History(ctx, before, min(limit-len(entries), api.MaxHistoryLimit))
		if err != nil {
			return nil, err
		}
		entries = append(entries, page.Items...)
		if len(entries) >= limit {
			return entries[:limit], nil
		}
		if page.Next == 0 || len(page.Items) == 0 {
			return entries, nil
		}
		before = page.Next
	}
}

func (a *app) printHistory(entries []api.HistoryEntry) {
	if len(entries) == 0 {
		a.note("nothing was changed yet")
		return
	}
	if a.output == formatWide {
		a.printTable(a.historyTable(entries, true, 0))
		return
	}
	a.printTable(fitted(func(limit int) ([]string, [][]cell) { return a.historyTable(entries, false, limit) }))
}

func (a *app) historyTable(entries []api.HistoryEntry, wide bool, limit int) (header []string, rows [][]cell) {
	header = []string{"REVISION", "TIME", "AUTHOR", "SET", "REMOVED", "MESSAGE"}
	if wide {
		header = append(header, "EPOCH", "DIGEST")
	}
	for _, e := range entries {
		cells := row(
			strconv.FormatUint(e.Revision, 10), e.Time.In(a.zone).Format(time.DateTime), e.Author,
			strconv.FormatUint(uint64(e.Upserted), 10), strconv.FormatUint(uint64(e.Removed), 10), cut(e.Message, limit))
		if wide {
			cells = append(cells, row(strconv.FormatUint(e.Epoch, 10), cut(e.Digest, 12))...)
		}
		rows = append(rows, cells)
	}
	return header, rows
}

// showChange shows one change with its diff.
func (a *app) showChange(ctx context.Context, c *client.Client, arg string) error {
	revision, err := parseRevision(arg)
	if err != nil {
		return err
	}
	d, err := c.Change(ctx, revision)
	if err != nil {
		return err
	}
	return a.show(d, func() { a.printChangeDetail(d) })
}

func (a *app) printChangeDetail(d api.HistoryDetail) {
	a.printf("revision  %d (epoch %d)\ntime      %s\nauthor    %s\nmessage   %s\ndigest    %s\nbefore    %s\nchanges   %d set, %d removed\n",
		d.Revision, d.Epoch, d.Time.In(a.zone).Format(time.DateTime), visible(d.Author), visible(d.Message),
		d.Digest, d.DigestBefore, d.Upserted, d.Removed)
	if d.EntriesLost {
		a.note("what it did is no longer kept")
		return
	}
	on := a.colours(a.stdout)
	from, to := "before", "revision "+strconv.FormatUint(d.Revision, 10)
	for _, e := range d.Entries {
		a.printf("\n%s", paintDiff(on, entryDiff(e, from, to)))
	}
	if d.Truncated {
		a.note("more are not shown")
	}
}
