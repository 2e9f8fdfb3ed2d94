// Package cluster is the cluster's own state: nodes, shards, the slot map, and the moves and migrations under way.
//
// All of it is one Document, kept by a Raft group of its own (group 0, the meta group) that every node learns, so each
// node has the map at hand. The document says what should be; agents make it so, and each step they take follows from
// the document and from what they see, never from a step before. So whoever leads after a crash goes on where the last
// one stopped.
//
// What changes the document is an Op: a pure function of the document and of its arguments that refuses with the
// reason. A change is a compare-and-set on the document's version: who loses reads again and applies his Op anew.
//
//	document.go, validate.go  the document, and when it holds together
//	ops*.go                   what can be asked for
//	view.go                   the document with its nodes and shards by name
//	ring.go                   where the consistent-hash ring puts replicas
//	plan.go                   what the meta leader changes by itself
//	membership.go             the next step of one group towards its desired replicas
//	meta.go, control.go       the document's group, and the nodes' calls to one another
//	agent.go                  the goroutines
//	migrate*.go               slots on their way from shard to shard; remote_log.go finds the other shard's log
//	admin*.go, report.go      the administrators' API, and what it tells of the cluster
package cluster
