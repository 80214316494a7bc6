package api

import (
	"encoding/json"
	"time"
)

// Version names one configuration of the fleet.
type Version struct {
	// Epoch changes when the store was replaced.
	Epoch uint64 `json:"epoch"`
	// Revision counts changes within an epoch; 0 is the empty beginning, and
	// in a Diff also a candidate that was not written.
	Revision uint64 `json:"revision"`
	// Digest is the root hash of the configuration tree, in hex. Two versions
	// hold the same resources if and only if their digests are equal.
	Digest string `json:"digest"`
}

// Action says what a change does to one resource.
type Action string

// The actions. Configured means replaced by something different.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Deleted    Action = "deleted"
)

// Changed is what became of one resource that a change named.
type Changed struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Action Action `json:"action"`
}

// ApplyResult answers apply, PUT, DELETE and rollback. Apply lists every
// resource of the body, in its order; the others list what differs, by kind and
// name.
type ApplyResult struct {
	// Version is the fleet's version after the change. Of a dry run: the epoch
	// and revision it was computed against, and the digest it would lead to.
	Version
	Changed []Changed `json:"changed"`
	DryRun  bool      `json:"dryRun"`
	// Kept are the certificates that a rollback did not bring back, by name.
	Kept []KeptCertificate `json:"kept,omitempty"`
	// Warnings are of resources that the change named, and change nothing.
	Warnings []Warning `json:"warnings,omitempty"`
}

// KeptCertificate is a certificate that a rollback did not bring back: it expired,
// or it is older than the one in force. The one in force stays.
type KeptCertificate struct {
	Name   string     `json:"name"`
	Reason KeptReason `json:"reason"`
	// NotAfter is the end of the one that was not brought back.
	NotAfter time.Time `json:"notAfter"`
	// InForce is the end of the one that stays; absent: there is none.
	InForce *time.Time `json:"inForce,omitempty"`
}

// KeptReason says why a certificate was not brought back.
type KeptReason string

// The reasons. Older is what began earlier or, beginning at the same time, ends
// earlier.
const (
	KeptExpired KeptReason = "expired"
	KeptOlder   KeptReason = "older"
)

// Warning is something that somebody should see to: about a resource, or about the
// control plane itself, where Kind and Name are empty.
type Warning struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Message string `json:"message"`
}

// RollbackRequest is the body of POST /v1/rollback.
type RollbackRequest struct {
	// Revision whose configuration is wanted back.
	Revision uint64 `json:"revision"`
	// Message for the history. Default: "rollback to revision N".
	Message string `json:"message,omitempty"`
	// WithCertificates brings back certificates too that expired since or are older
	// than those in force. Default: those in force stay.
	WithCertificates bool `json:"withCertificates,omitempty"`
}

// ResourceList is the JSON answer to GET of a kind, sorted by name.
type ResourceList struct {
	Version
	// Items are resources in the JSON text form of package resource.
	Items []json.RawMessage `json:"items"`
}

// HistoryEntry is one change of the configuration.
type HistoryEntry struct {
	// Version that the change led to.
	Version
	// DigestBefore is the root hash that the change started from.
	DigestBefore string    `json:"digestBefore"`
	Time         time.Time `json:"time"`
	Author       string    `json:"author"`
	Message      string    `json:"message,omitempty"`
	// Upserted and Removed count resources.
	Upserted uint32 `json:"upserted"`
	Removed  uint32 `json:"removed"`
}

// HistoryList is one page of the history, newest first.
type HistoryList struct {
	Items []HistoryEntry `json:"items"`
	// Next is what to send as before for the next page; 0: there is none.
	Next uint64 `json:"next,omitempty"`
}

// HistoryDetail is one change with what it did.
type HistoryDetail struct {
	HistoryEntry
	// Entries say what the change did. Nil, with EntriesLost, when the
	// configuration before it is no longer kept.
	Entries     []DiffEntry `json:"entries"`
	EntriesLost bool        `json:"entriesLost,omitempty"`
	// Truncated says that Entries stops at MaxDiffEntries.
	Truncated bool `json:"truncated,omitempty"`
}

// Diff is what differs between two configurations.
type Diff struct {
	From Version `json:"from"`
	// To is a revision, or with revision 0 the candidate of a POST.
	To Version `json:"to"`
	// Entries are sorted by kind and name; equal resources are left out.
	Entries []DiffEntry `json:"entries"`
	// Created, Configured and Deleted count all entries, also those beyond MaxDiffEntries.
	Created    int `json:"created"`
	Configured int `json:"configured"`
	Deleted    int `json:"deleted"`
	// Truncated says that Entries stops at MaxDiffEntries.
	Truncated bool `json:"truncated,omitempty"`
}

// DiffEntry is one resource that differs.
type DiffEntry struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Action Action `json:"action"`
	// Before and After are the resource as YAML; empty where there is none.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}
