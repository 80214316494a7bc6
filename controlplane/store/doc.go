// Package store keeps configuration trees in etcd: what is wanted, how it came
// to be, and the nodes of the fleet. Any number of control-plane replicas use
// one etcd; nothing here is a lock, everything is compare-and-swap.
//
// # Keys
//
// Below the prefix (/proxyfleet/v1/):
//
//	head                 Head: the epoch, revision and root that are wanted
//	changes/<revision>   Change: who made the revision of what, 20 digits
//	blobs/<hash>         Envelope: a resource's bytes or a node of a tree
//	epoch                EpochRecord: which etcd cluster the epoch belongs to
//	sweep                SweepRecord: when garbage collection began last
//	nodes/<id>           NodeRecord: outside of the tree, no rollback touches it
//	list                 ListRecord: the list of expected members
//	fleet                FleetRecord: counts the changes of nodes/ and list
//	seal                 SealRecord: the id of the key that secrets are sealed under
//	tickets              Envelope, sealed: the session-ticket keys of the fleet
//	replicas/<name>/…    what control planes tell each other, under a lease of each
//
// # A change
//
// Commit writes every blob that the new tree has and the old one has not, in
// batches that fit into etcd's stock limits, whether or not they are there
// already. Nobody sees them. Then one transaction of two operations moves the
// head and writes the change record, if the head is still what the base was read
// from. So a change of any size is one revision, and every revision in the
// history is reachable by its root. An answer that got lost is asked for: each
// attempt has a random id in its change record.
//
// # Secrets
//
// The blob of a resource that holds a secret (a Certificate) is sealed under the
// key of the Options: AES-256-GCM with a random nonce, bound to the blob's hash,
// so that it cannot be put in another's place. The hash is that of the plain
// bytes: sealing anew changes no root. The first store that is opened with a key
// writes the key's id; one with another key does not open. A tampered envelope is
// refused as damage.
//
// # Garbage
//
// Blobs that no kept revision reaches are deleted by CollectGarbage, under three
// conditions:
//
//   - The blob was last written before the collection began. A collection begins
//     by writing the sweep key, and a commit is refused (and writes its blobs
//     again) if that key changed since its base was read. So a writer that slept
//     between its blobs and its head cannot refer to what was deleted,
//     whatever its clock says.
//   - It still has the modification revision that was seen after marking.
//   - It is older than the minimal age (24 h) by the time in its envelope, which
//     its writer's clock set. This is grace for people, not for safety; while space
//     is short there is none.
//
// The history keeps what is among the newest 10,000 changes and not older than
// 90 days, and the newest 100 whatever their age: a fleet that is left alone for
// a year can still be rolled back. Of these it keeps the newest that together wrote
// no more than 512 MiB, and no more than a quarter of etcd's quota.
//
// # Space
//
// An etcd whose file came to its quota takes deletions only, and a collection
// begins by writing. So Commit refuses (ErrFull) what would leave less than an
// eighth of the quota, as Space told it last; until Space is called for the first
// time, and with an etcd that does not tell its quota, etcd alone refuses. What is
// deleted takes room until etcd is compacted, and its file does not shrink before it
// is defragmented: that is for whoever runs etcd.
//
// # Epochs
//
// Revisions count within an epoch. The epoch record holds etcd's cluster id: if
// it is missing or another, the store was wiped, replaced or restored, and a new
// epoch begins, above every epoch seen and not below the Unix milliseconds. The
// head keeps its revision and root. The record also says whether somebody accepted
// the epoch; a new one is not.
//
// # Ownership
//
// The caller owns the client and closes it after the last use of the store. The
// channels of Watch and WatchNodes live as long as their contexts, and with them
// the only goroutines that outlive a call. A Store is safe for concurrent use.
package store
