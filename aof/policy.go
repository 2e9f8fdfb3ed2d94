package aof

import "fmt"

// SetPolicy changes when entries reach stable storage. When it returns, the new policy is in force and
// the log says so.
func (l *Log) SetPolicy(policy SyncPolicy) error {
	if policy > No {
		return fmt.Errorf("unknown sync policy %d", policy)
	}
	l.policyChange.Lock()
	defer l.policyChange.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.policy == policy {
		return nil
	}
	// The log must never claim Always while entries are acknowledged without a sync: the promise gets
	// stronger before the record, and weaker after it.
	if policy == Always {
		l.mu.policy = policy
	}
	if err := l.recordStateLocked(policy, l.mu.forgot); err != nil {
		return err
	}
	l.mu.policy = policy
	return nil
}

// Policy returns the policy in force.
func (l *Log) Policy() SyncPolicy {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.policy
}

// MayHaveForgotten returns whether the log may lack entries that this node has promised to have: it did not
// run under Always, was not closed in order, and the machine has been started anew since. It
// stays so, over further starts, until ClearForgotten. Until then a node that is not its group's only
// voter must neither vote nor stand.
func (l *Log) MayHaveForgotten() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.forgot
}

// ClearForgotten notes that all shards have caught up with a leader.
func (l *Log) ClearForgotten() error {
	l.policyChange.Lock()
	defer l.policyChange.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.forgot {
		return nil
	}
	return l.recordStateLocked(l.mu.recorded, false)
}

// recordStateLocked writes what the log says about itself and syncs it.
func (l *Log) recordStateLocked(policy SyncPolicy, forgot bool) error {
	r := record{kind: kindState, index: uint64(policy)}
	if forgot {
		r.term = 1
	}
	w, err := l.appendLocked(appendControl(nil, r), 0, useReserve)
	if err != nil {
		return fmt.Errorf("recording the state of the log: %w", err)
	}
	l.mu.recorded, l.mu.forgot = policy, forgot
	return l.awaitSyncLocked(w.position)
}
