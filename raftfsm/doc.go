// Package raftfsm makes one shard of the data a Raft group over the stock hashicorp/raft.
//
// A batch goes through it like this:
//
//	event loop      Propose: stamp the entry, register the batch under its number, raft.Apply (the one call site)
//	raft, main      StoreLogs (logStore): start the fills of the entry's keys, write and sync
//	raft, FSM       ApplyBatch (fsm): take the batch from the register by its number, Engine.Apply writes the replies
//	raft, FSM       Proposal.Done: the batch is the event loop's again
//
// Invariants:
//
//   - A batch is in the register from Propose until somebody takes it out, and whoever takes it out calls Done: the FSM
//     before it applies the entry, or the reaper with an error. So Done is called once, and an entry that is applied
//     after the reaper has answered finds no batch and is applied without replies.
//   - Propose never waits: what was handed to Raft and is not known to have left Raft's queue counts as in flight, and
//     fewer than that queue holds are let in.
//   - The store is the state. Raft's snapshot store only lists the store's last checkpoint, Raft never restores from it,
//     entries at or below that checkpoint are never applied again, and the log keeps the entry at it.
//   - A follower that needs more than the log has is sent that checkpoint (send.go) on a connection of its own. Its store is
//     replaced, and its log emptied, between two instances of the stock library (install.go, instance.go); the group, its
//     register and its transport stay. What the follower needs next is kept in the leader's log meanwhile (retain.go).
//   - A checkpoint carries exactly the index, the term and the configuration that Raft gave to SnapshotStore.Create, and
//     the log is on stable storage up to there before it is committed.
//
// The sentry (sentry.go) stands between Raft and its transport, which is a Loopback or a Network; what it sees of the
// traffic is the ground of the proof of leadership (proof.go) that reads wait for.
//
// Goroutines of a group, besides Raft's own and the stock transport's: watchLeadership, prove for each new leadership and
// standAtOnce (leadership.go), reap and askFutures (reaper.go), receive and one for each vote that has to be marked (sentry.go),
// relay for each pipeline (pipeline.go), ask for each voter that is being asked (proof.go). Close waits for all of them, and
// for those who serve snapshots.
package raftfsm
