package rest

import (
	"slices"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// maxDiffText bounds the text of one diff; entries beyond it are counted only.
const maxDiffText = 32 << 20

// difference is one resource that two trees do not share.
type difference struct {
	key           resource.Key
	before, after []byte // nil where there is none
}

func (d difference) action() api.Action {
	switch {
	case d.before == nil:
		return api.Created
	case d.after == nil:
		return api.Deleted
	default:
		return api.Configured
	}
}

// differences lists what two trees do not share, by kind and name.
func differences(from, to tree.Tree) []difference {
	upserts, removed := tree.Diff(from, to)
	list := make([]difference, 0, len(upserts)+len(removed))
	for _, leaf := range upserts {
		before, _ := from.Get(leaf.Key)
		list = append(list, difference{leaf.Key, before.Bytes, leaf.Bytes})
	}
	for _, key := range removed {
		before, _ := from.Get(key)
		list = append(list, difference{key, before.Bytes, nil})
	}
	slices.SortFunc(list, func(a, b difference) int { return a.key.Compare(b.key) })
	return list
}

// diffEntries renders differences, as many as an answer may hold.
func diffEntries(list []difference) (entries []api.DiffEntry, truncated bool, err error) {
	entries = make([]api.DiffEntry, 0, min(len(list), api.MaxDiffEntries))
	size := 0
	for _, d := range list {
		if len(entries) == api.MaxDiffEntries || size > maxDiffText {
			return entries, true, nil
		}
		e := api.DiffEntry{Kind: d.key.Kind, Name: d.key.Name, Action: d.action()}
		if e.Before, err = yamlText(d.before); err != nil {
			return nil, false, err
		}
		if e.After, err = yamlText(d.after); err != nil {
			return nil, false, err
		}
		size += len(e.Before) + len(e.After)
		entries = append(entries, e)
	}
	return entries, false, nil
}

func yamlText(canonical []byte) (string, error) {
	if canonical == nil {
		return "", nil
	}
	r, err := resource.Parse(canonical)
	if err != nil {
		return "", err
	}
	text, err := resource.AppendYAML(nil, r)
	return string(text), err
}

// diffOf is the diff of two versions.
func diffOf(from, to api.Version, list []difference) (api.Diff, error) {
	d := api.Diff{From: from, To: to}
	for _, one := range list {
		switch one.action() {
		case api.Created:
			d.Created++
		case api.Deleted:
			d.Deleted++
		default:
			d.Configured++
		}
	}
	var err error
	d.Entries, d.Truncated, err = diffEntries(list)
	return d, err
}
