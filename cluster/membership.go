package cluster

import "slices"

// GroupView is what the leader of a group goes by.
type GroupView struct {
	Self NodeID // who leads
	// Voters and Learners are who is to vote and to learn, the preferred leader first.
	Voters, Learners []NodeID
	Paused           bool // the replicas are to stay as they are
	// Members is the group's configuration: true for who votes.
	Members map[NodeID]bool
	Index   uint64 // of the configuration: a change is meant for it, and for no later one
	// Ready says of a replica that it answers and has caught up. The leader itself is.
	Ready map[NodeID]bool
}

// ActionKind is a change of a group.
type ActionKind int

// The changes of a group.
const (
	ActNone ActionKind = iota
	ActAddLearner
	ActPromote
	ActDemote
	ActRemove
	ActTransfer // of leadership
)

var actionNames = []string{"nothing", "add learner", "promote", "demote", "remove", "transfer leadership to"}

func (k ActionKind) String() string { return actionNames[k] }

// Action is the next change of a group, to be made by its leader.
type Action struct {
	Kind ActionKind
	Node NodeID
}

// Next decides the next change that brings a group's configuration closer to what it is to be. It is a pure function: in
// whatever state a group is found, asking again and again leads to the end.
//
// First the replicas that are missing become learners. Once all that are to vote and do not have caught up, they are
// promoted one right after the other: from one voter to three there are two for a moment, of which both are needed, and
// both have everything. Only then does anybody lose the vote or the replica, those first that do not answer. In each
// configuration on the way the voters that have caught up are a majority.
func (v *GroupView) Next() Action {
	if v.Paused || len(v.Voters) == 0 {
		return Action{}
	}
	if id, ok := v.missing(); ok {
		return Action{ActAddLearner, id}
	}
	fresh := v.choose(v.Voters, func(id NodeID) bool { return !v.Members[id] })
	if len(fresh) > 0 {
		return v.promote(fresh)
	}
	if a := v.shrink(); a.Kind != ActNone {
		return a
	}
	if lead := v.Voters[0]; lead != v.Self && v.Ready[lead] && v.Members[lead] {
		return Action{ActTransfer, lead}
	}
	return Action{}
}

// Settled says whether the configuration is what it is to be, whoever leads.
func (v *GroupView) Settled() bool {
	if len(v.Members) != len(v.Voters)+len(v.Learners) {
		return false
	}
	for _, id := range v.Voters {
		if !v.Members[id] {
			return false
		}
	}
	for _, id := range v.Learners {
		if votes, in := v.Members[id]; votes || !in {
			return false
		}
	}
	return true
}

func (v *GroupView) choose(list []NodeID, is func(NodeID) bool) []NodeID {
	return slices.DeleteFunc(slices.Clone(list), func(id NodeID) bool { return !is(id) })
}

// missing is a replica that is to be and is not.
func (v *GroupView) missing() (NodeID, bool) {
	for _, id := range slices.Concat(v.Voters, v.Learners) {
		if _, in := v.Members[id]; !in {
			return id, true
		}
	}
	return "", false
}

// promote gives the vote to one of those who are to have it, once all of them have caught up. If there would be no
// majority then, a voter that does not answer and is to go makes room first.
func (v *GroupView) promote(fresh []NodeID) Action {
	for _, id := range fresh {
		if !v.Ready[id] {
			return Action{}
		}
	}
	if v.majority(fresh[0], "") {
		return Action{ActPromote, fresh[0]}
	}
	return v.shrink()
}

// shrink takes the vote or the replica from one who is not to have it.
func (v *GroupView) shrink() Action {
	voters, others := v.surplus()
	for _, id := range voters {
		if id == v.Self || !v.majority("", id) {
			continue
		}
		if slices.Contains(v.Learners, id) {
			return Action{ActDemote, id}
		}
		return Action{ActRemove, id}
	}
	if slices.Contains(voters, v.Self) {
		for _, id := range v.Voters {
			if v.Members[id] && v.Ready[id] {
				return Action{ActTransfer, id}
			}
		}
		return Action{}
	}
	for _, id := range others {
		if v.spare(id) {
			return Action{ActRemove, id}
		}
	}
	return Action{}
}

// spare says whether a learner that is not to be can go. Beside a voter or two it may be the only copy that is complete,
// until those that are to be are; otherwise one dead replica must not keep it.
func (v *GroupView) spare(id NodeID) bool {
	return v.allReady() || !v.Ready[id] || len(v.Voters) >= 3 && v.majority("", "")
}

// surplus is the voters that are not to vote, and the learners that are not to be, those first that do not answer.
func (v *GroupView) surplus() (voters, others []NodeID) {
	for id, votes := range v.Members {
		switch {
		case votes && !slices.Contains(v.Voters, id):
			voters = append(voters, id)
		case !votes && !slices.Contains(v.Voters, id) && !slices.Contains(v.Learners, id):
			others = append(others, id)
		}
	}
	slices.Sort(voters)
	slices.Sort(others)
	slices.SortStableFunc(voters, func(a, b NodeID) int {
		switch {
		case v.Ready[a] == v.Ready[b]:
			return 0
		case v.Ready[b]:
			return -1
		}
		return 1
	})
	return voters, others
}

// allReady says whether every replica that is to be has caught up.
func (v *GroupView) allReady() bool {
	for _, id := range slices.Concat(v.Voters, v.Learners) {
		if id != v.Self && !v.Ready[id] {
			return false
		}
	}
	return true
}

// majority says whether, with one voter more or one less, those that have caught up would be a majority of the voters,
// and there would be one.
func (v *GroupView) majority(more, less NodeID) bool {
	voters, ready := 0, 0
	for id, votes := range v.Members {
		if (votes || id == more) && id != less {
			voters++
			if v.Ready[id] || id == v.Self {
				ready++
			}
		}
	}
	return voters > 0 && ready > voters/2
}
