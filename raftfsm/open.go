package raftfsm

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Raft's names in the stable store.
var (
	keyCurrentTerm = []byte("CurrentTerm")
	keyVoteTerm    = []byte("LastVoteTerm")
	keyCandidate   = []byte("LastVoteCand")
)

// reconcile makes the log continue the store, and refuses to start where that would lose what was acknowledged.
//
//	log                                    store at A             then
//	begins above 1                         none                   refused: the store is gone
//	begins above A+1                       A                      refused: what lies between is gone
//	ends below A                           A                      the log restarts at A with a stand-in
//	bears another term at A                A                      the log is dropped, restarts at A
//	otherwise                              A or none              replay from A+1
//
// The second but last is a follower's log with a suffix that never was committed, under a snapshot that was installed
// over it. In the last but two something is lost that this replica may have promised, if it was not an install that was
// interrupted; lost says so. Likewise if there is nothing at all and no group is to be founded.
func reconcile(o *Options) (lost string, err error) {
	first, err := o.Log.FirstIndex()
	if err != nil {
		return "", fmt.Errorf("first index of the log: %w", err)
	}
	last, err := o.Log.LastIndex()
	if err != nil {
		return "", fmt.Errorf("last index of the log: %w", err)
	}
	index, term, encoded, _, ok := o.Engine.Durable()
	if !ok {
		if first > 1 {
			return "", fmt.Errorf("the log begins at entry %d but the store has no checkpoint: the store's folder was "+
				"removed or replaced; restore it, or the whole data folder, from a backup", first)
		}
		if last == 0 && len(o.Bootstrap) == 0 {
			lost = nothingYet
		}
		return lost, checkTerm(o, last, 0)
	}
	if _, err := decodeConfiguration(encoded); err != nil {
		return "", fmt.Errorf("the store's checkpoint at %d: %w", index, err)
	}
	if last < index {
		o.Logger.Warn("the log ends before the store's checkpoint: it restarts there", "shard", o.Group,
			"log-ends-at", last, "checkpoint", index)
		return "its log ended before its checkpoint", restartLog(o, index, term)
	}
	if first > index+1 {
		return "", fmt.Errorf("the log begins at entry %d but the store's checkpoint is at %d: the entries between are "+
			"missing, the store is older than the log; restore the whole data folder from a backup", first, index)
	}
	var at raft.Log
	switch err := o.Log.GetLog(index, &at); {
	case err == nil && at.Term != term:
		o.Logger.Warn("the log disagrees with the store's checkpoint: it is dropped", "shard", o.Group,
			"checkpoint", index, "term", term, "term-in-log", at.Term)
		return "", restartLog(o, index, term)
	case err != nil && (first <= index || !errors.Is(err, raft.ErrLogNotFound)):
		return "", fmt.Errorf("entry %d of the log, at the store's checkpoint: %w", index, err)
	}
	return "", checkTerm(o, last, term)
}

func restartLog(o *Options, index, term uint64) error {
	if err := o.Log.Reset(index, term); err != nil {
		return fmt.Errorf("restart the log at the store's checkpoint at %d: %w", index, err)
	}
	if err := o.Sync(); err != nil {
		return fmt.Errorf("sync the log restarted at %d: %w", index, err)
	}
	return checkTerm(o, index, term)
}

// checkTerm refuses a stable store that has forgotten a term: the replica could vote twice in it.
func checkTerm(o *Options, last, term uint64) error {
	if last > 0 {
		var l raft.Log
		if err := o.Log.GetLog(last, &l); err != nil {
			return fmt.Errorf("last entry %d of the log: %w", last, err)
		}
		term = max(term, l.Term)
	}
	current, err := stableUint64(o.Stable, keyCurrentTerm)
	if err != nil {
		return err
	}
	if current < term {
		return fmt.Errorf("the stable store is in term %d but log and store are in term %d: its file was removed or "+
			"replaced by an older one; restore it, or the whole data folder, from a backup", current, term)
	}
	return nil
}

// bootstrap gives a new group its first configuration. The library does it in two steps, the term first and then the
// first entry, and refuses to try again after a crash between them: such a term is taken back, which is safe because
// nobody can have voted without a configuration.
func bootstrap(o *Options, config *raft.Config, log *logStore, snapshots raft.SnapshotStore) error {
	_, _, _, _, durable := o.Engine.Durable()
	if len(o.Bootstrap) == 0 || durable || log.lastAtOpen > 0 {
		return nil
	}
	term, err := stableUint64(o.Stable, keyCurrentTerm)
	if err != nil {
		return err
	}
	voted, err := stableUint64(o.Stable, keyVoteTerm)
	if err != nil {
		return err
	}
	if term > 1 || voted > 0 {
		return fmt.Errorf("the stable store is in term %d but log and store are empty: their files were removed; "+
			"restore the whole data folder from a backup, or remove all of it to begin anew", term)
	}
	if err := o.Stable.SetUint64(keyCurrentTerm, 0); err != nil {
		return fmt.Errorf("take back the term: %w", err)
	}
	err = raft.BootstrapCluster(config, log, o.Stable, snapshots, o.Transport, raft.Configuration{Servers: o.Bootstrap})
	if err != nil {
		return err
	}
	if err := o.Sync(); err != nil {
		return fmt.Errorf("sync the first entry: %w", err)
	}
	return nil
}

// stableUint64 reads a number, 0 if it was never written.
func stableUint64(s raft.StableStore, key []byte) (uint64, error) {
	v, err := s.GetUint64(key)
	if err != nil && err.Error() != errNotFound.Error() {
		return 0, fmt.Errorf("read %s from the stable store: %w", key, err)
	}
	return v, nil
}
