package api

import (
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// NodeState says how a node stands to the version that is wanted of it.
type NodeState string

// The states of a node.
const (
	// Synced: runs the wanted version, and what it runs is what it says.
	Synced NodeState = "SYNCED"
	// Updating: connected, and has yet to answer the wanted version.
	Updating NodeState = "UPDATING"
	// Rejected: refused the wanted version and serves an older one; Problems say why.
	Rejected NodeState = "REJECTED"
	// Held: holds the wanted version, which begins an epoch, since it would lose too
	// much by it. It follows when the epoch is accepted or what is wanted loses less.
	Held NodeState = "HELD"
	// Drift: its live table was not built from the version that it names.
	Drift NodeState = "DRIFT"
	// Disconnected: known, and not connected to this control plane, nor, as far as that
	// hears of them, to another one of the fleet.
	Disconnected NodeState = "DISCONNECTED"
)

// NodeStates lists the states, the good one first.
func NodeStates() []NodeState {
	return []NodeState{Synced, Updating, Rejected, Held, Drift, Disconnected}
}

// NodeStatus is a node as the fleet knows it and as it was last seen.
type NodeStatus struct {
	ID     string            `json:"id"`
	Labels map[string]string `json:"labels,omitempty"`
	// Expected, Cordoned and Drained are the node's spec, defaults applied.
	Expected bool `json:"expected"`
	Cordoned bool `json:"cordoned"`
	Drained  bool `json:"drained"`
	// DrainReported is whether the node says that it is drained: it has handed its
	// virtual IPs over, and accepts no connections since before Connections were
	// counted. Absent: it said nothing.
	DrainReported *bool `json:"drainReported,omitempty"`
	// Connected: to this control plane or to another one of the fleet.
	Connected bool `json:"connected"`
	// ControlPlane is the one that the node is connected to, or was last, by the address that
	// nodes have of it. Empty: that is not known.
	ControlPlane string    `json:"controlPlane,omitempty"`
	State        NodeState `json:"state"`
	// Wanted is what the control plane wants the node to run.
	Wanted Version `json:"wanted"`
	// Running is what the node says it serves; nil: nothing, or never heard.
	Running *Version `json:"running,omitempty"`
	// Attested is the digest that the live table was really built from, in hex.
	Attested string `json:"attested,omitempty"`
	// Problems are those of the last refusal, while it stands.
	Problems []Problem `json:"problems,omitempty"`
	// Held is what the node would lose; nil unless State is Held.
	Held      *Loss      `json:"held,omitempty"`
	FirstSeen *time.Time `json:"firstSeen,omitempty"`
	// LastSeen is when the node was heard last; of one that is connected to another control
	// plane, at the least.
	LastSeen    *time.Time `json:"lastSeen,omitempty"`
	Build       string     `json:"build,omitempty"`
	SchemaLevel uint32     `json:"schemaLevel,omitempty"`
	// UptimeSeconds counts since the node's process started.
	UptimeSeconds uint64 `json:"uptimeSeconds,omitempty"`
	// Requests counts finished requests since the start; Connections are open ones.
	Requests    uint64 `json:"requests"`
	Connections uint64 `json:"connections"`
	Errors      uint64 `json:"errors"`
	// CountedAt is when these were told, of a node that is connected to another control
	// plane: that tells them with other news, and at once only of a node that is drained.
	// Absent: they are what the node said last.
	CountedAt *time.Time `json:"countedAt,omitempty"`
	// Resource is the node as a resource of kind Node, to be edited and put back.
	Resource json.RawMessage `json:"resource,omitempty"`
}

// Loss counts what runs on a node, and what of that the wanted version does not
// have.
type Loss struct {
	Routes         uint32 `json:"routes"`
	RoutesLost     uint32 `json:"routesLost"`
	VirtualIPs     uint32 `json:"virtualIPs"`
	VirtualIPsLost uint32 `json:"virtualIPsLost"`
	Listeners      uint32 `json:"listeners"`
	ListenersLost  uint32 `json:"listenersLost"`
}

// NodeList is every known node, sorted by id.
type NodeList struct {
	// Wanted is the fleet's current version.
	Wanted Version `json:"wanted"`
	// ConfiguredAsOf is set where etcd does not answer the control plane: Wanted and
	// the records of nodes are as they were then, and no item has a Resource. What
	// nodes run they say.
	ConfiguredAsOf *time.Time   `json:"configuredAsOf,omitempty"`
	Items          []NodeStatus `json:"items"`
}

// Status is the fleet at a glance.
type Status struct {
	// Version is the head: the configuration that is wanted.
	Version
	// ConfiguredAsOf is set where etcd does not answer the control plane: Version and
	// Resources are as they were then, and LastChange is nil.
	ConfiguredAsOf *time.Time `json:"configuredAsOf,omitempty"`
	// LastChange is the change that led to it; nil before the first.
	LastChange *HistoryEntry `json:"lastChange,omitempty"`
	// Problems say why the head is not wanted of the nodes: it does not compile in
	// this build (another replica has a newer one). They keep what was wanted before.
	Problems []Problem `json:"problems,omitempty"`
	// Warnings are of resources in force (certificates that end within 14 days) and of
	// the control plane itself (etcd that is short of room).
	Warnings []Warning `json:"warnings,omitempty"`
	// Resources counts the resources of each kind that has any.
	Resources map[string]int `json:"resources"`
	// Nodes counts nodes by state; every state is present.
	Nodes map[NodeState]int `json:"nodes"`
	// NodesTotal and NodesConnected count nodes.
	NodesTotal     int `json:"nodesTotal"`
	NodesConnected int `json:"nodesConnected"`
	// ControlPlanes are those that are there, as far as the one that answers hears; itself
	// is the first. Absent where there can be one only, with an etcd of its own.
	ControlPlanes []ControlPlane `json:"controlPlanes,omitempty"`
	Build         Build          `json:"build"`
}

// ControlPlane is one of the control planes of a fleet.
type ControlPlane struct {
	// Name is the address that nodes have of it.
	Name string `json:"name"`
	// Version is that of its build.
	Version string `json:"version,omitempty"`
	// Nodes counts those that are connected to it.
	Nodes int `json:"nodes"`
}

// Build says what program answers.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	// SchemaLevel is the highest level of the schema that the build knows.
	SchemaLevel uint32 `json:"schemaLevel"`
}

// NewBuild says what this program is; version and commit are what the linker has set.
func NewBuild(version, commit string) Build {
	return Build{Version: version, Commit: commit, Go: runtime.Version(), SchemaLevel: resource.SchemaLevel}
}

// Line is the build on one line, for people, after the name of its program.
func (b Build) Line(program string) string {
	return fmt.Sprintf("%s %s (commit %s, schema level %d, %s)", program, b.Version, b.Commit, b.SchemaLevel, b.Go)
}

// Health answers /healthz and /readyz.
type Health struct {
	OK     bool          `json:"ok"`
	Checks []HealthCheck `json:"checks,omitempty"`
}

// HealthCheck is one of the things that readiness needs.
type HealthCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// EventType tells events apart.
type EventType string

// The events of /v1/events.
const (
	// EventStatus is the first of every stream; Status is set.
	EventStatus EventType = "status"
	// EventChange: a new head; Change is set.
	EventChange EventType = "change"
	// The node events; Node is set.
	EventNodeConnected    EventType = "node.connected"
	EventNodeDisconnected EventType = "node.disconnected"
	EventNodeAcked        EventType = "node.acked"
	EventNodeNacked       EventType = "node.nacked"
	// EventLagged is the last of a stream whose reader was too slow.
	EventLagged EventType = "lagged"
)

// EventTypes lists the types of events.
func EventTypes() []EventType {
	return []EventType{
		EventStatus, EventChange, EventNodeConnected, EventNodeDisconnected,
		EventNodeAcked, EventNodeNacked, EventLagged,
	}
}

// Event is one thing that happened.
type Event struct {
	// ID counts within one control-plane process.
	ID     uint64        `json:"id"`
	Type   EventType     `json:"type"`
	Time   time.Time     `json:"time"`
	Status *Status       `json:"status,omitempty"`
	Change *HistoryEntry `json:"change,omitempty"`
	Node   *NodeStatus   `json:"node,omitempty"`
}
