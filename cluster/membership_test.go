package cluster

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// applyAction does to a group what the action says, and whatever is asked of it must be possible.
func applyAction(t *rapid.T, v *GroupView, a Action) {
	votes, in := v.Members[a.Node]
	switch a.Kind {
	case ActAddLearner:
		if in {
			t.Fatalf("%v %s, who is there", a.Kind, a.Node)
		}
		v.Members[a.Node] = false
	case ActPromote:
		if !in || votes || !v.Ready[a.Node] {
			t.Fatalf("%v %s: %+v", a.Kind, a.Node, v)
		}
		v.Members[a.Node] = true
	case ActDemote:
		if !votes || a.Node == v.Self {
			t.Fatalf("%v %s: %+v", a.Kind, a.Node, v)
		}
		v.Members[a.Node] = false
	case ActRemove:
		if !in || a.Node == v.Self {
			t.Fatalf("%v %s: %+v", a.Kind, a.Node, v)
		}
		delete(v.Members, a.Node)
	case ActTransfer:
		if !votes || !v.Ready[a.Node] || a.Node == v.Self {
			t.Fatalf("%v %s: %+v", a.Kind, a.Node, v)
		}
		v.Self = a.Node
	}
}

// checkMajority: the voters that have caught up are a majority of the voters.
func checkMajority(t *rapid.T, v *GroupView, after Action) {
	voters, ready := 0, 0
	for id, votes := range v.Members {
		if votes {
			voters++
			if v.Ready[id] {
				ready++
			}
		}
	}
	if ready <= voters/2 {
		t.Fatalf("after %v %s: %d of %d voters have caught up: %+v", after.Kind, after.Node, ready, voters, v)
	}
	if !v.Members[v.Self] {
		t.Fatalf("after %v %s: the leader does not vote", after.Kind, after.Node)
	}
}

// TestMembershipComesToItsEnd: from any configuration that has a leader to any wanted one, if those who are to be
// answer, though others may not; on the way there is always a majority that has caught up.
func TestMembershipComesToItsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := make([]NodeID, 9)
		for i := range pool {
			pool[i] = id(i + 1)
		}
		v := GroupView{Members: map[NodeID]bool{}, Ready: map[NodeID]bool{}}
		now := rapid.Permutation(pool).Draw(t, "now")
		voters := rapid.IntRange(1, 6).Draw(t, "voters")
		for i, id := range now[:voters+rapid.IntRange(0, 2).Draw(t, "learners")] {
			v.Members[id] = i < voters
		}
		want := rapid.Permutation(pool).Draw(t, "want")
		r := rapid.IntRange(1, 7).Draw(t, "replicas")
		v.Voters, v.Learners = want[:VotersOf(r)], want[VotersOf(r):r]
		// Some of those who are to go do not answer, but a majority of the voters does.
		dead := 0
		for i, id := range now {
			leaves := !slices.Contains(want[:r], id)
			v.Ready[id] = true
			if leaves && i < voters && (dead+1)*2 < voters && rapid.Bool().Draw(t, "dead") {
				v.Ready[id] = false
				dead++
			}
		}
		for _, id := range now[:voters] {
			if v.Ready[id] {
				v.Self = id
			}
		}
		checkMajority(t, &v, Action{})
		late := map[NodeID]int{} // newcomers catch up some time after they came
		for range 200 {
			for id := range late {
				if late[id]--; late[id] == 0 {
					v.Ready[id] = true
					delete(late, id)
				}
			}
			a := v.Next()
			if a.Kind == ActNone {
				if len(late) > 0 {
					continue
				}
				break
			}
			applyAction(t, &v, a)
			if a.Kind == ActAddLearner {
				v.Ready[a.Node] = false
				late[a.Node] = rapid.IntRange(1, 4).Draw(t, "late")
			}
			checkMajority(t, &v, a)
		}
		if a := v.Next(); a.Kind != ActNone || !v.Settled() || v.Self != v.Voters[0] {
			t.Fatalf("it ended with %v: %+v", a, v)
		}
	})
}

// TestMembershipWhateverIsReady: with readiness drawn anew at each step nothing unsafe is done either.
func TestMembershipWhateverIsReady(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := GroupView{Self: id(1), Members: map[NodeID]bool{id(1): true}, Ready: map[NodeID]bool{}}
		for range 40 {
			r := rapid.IntRange(1, 6).Draw(t, "replicas")
			want := rapid.Permutation([]NodeID{id(1), id(2), id(3), id(4), id(5), id(6)}).Draw(t, "want")
			v.Voters, v.Learners, v.Paused = want[:VotersOf(r)], want[VotersOf(r):r], rapid.Bool().Draw(t, "paused")
			for _, id := range want {
				v.Ready[id] = id == v.Self || rapid.Bool().Draw(t, "ready")
			}
			a := v.Next()
			voted := v.Members[a.Node]
			applyAction(t, &v, a)
			if v.Paused && a.Kind != ActNone {
				t.Fatal("it does not obey the pause")
			}
			if v.Members[a.Node] != voted {
				checkMajority(t, &v, a)
			}
		}
	})
}

// script runs a group towards what it is to be and tells the steps.
func script(t *testing.T, v GroupView) (steps []Action) {
	for range 50 {
		a := v.Next()
		if a.Kind == ActNone {
			return steps
		}
		steps = append(steps, a)
		switch a.Kind {
		case ActAddLearner, ActDemote:
			v.Members[a.Node] = false
		case ActPromote:
			v.Members[a.Node] = true
		case ActRemove:
			delete(v.Members, a.Node)
		case ActTransfer:
			v.Self = a.Node
		}
	}
	t.Fatal("no end")
	return nil
}

func TestMembershipSteps(t *testing.T) {
	a, b, c, d, e := id(1), id(2), id(3), id(4), id(5)
	all := map[NodeID]bool{a: true, b: true, c: true, d: true}
	for what, s := range map[string]struct {
		view GroupView
		want []Action
	}{
		"one to three": {
			GroupView{Self: a, Voters: []NodeID{a, b, c}, Members: map[NodeID]bool{a: true}, Ready: all},
			[]Action{{ActAddLearner, b}, {ActAddLearner, c}, {ActPromote, b}, {ActPromote, c}},
		},
		"one of the two has not caught up": {
			GroupView{Self: a, Voters: []NodeID{a, b, c}, Members: map[NodeID]bool{a: true, b: false, c: false}, Ready: map[NodeID]bool{a: true, b: true}},
			nil,
		},
		"the leader moves": {
			GroupView{Self: a, Voters: []NodeID{d, b, c}, Members: map[NodeID]bool{a: true, b: true, c: true}, Ready: all},
			[]Action{{ActAddLearner, d}, {ActPromote, d}, {ActTransfer, d}, {ActRemove, a}},
		},
		"a dead one is replaced": {
			GroupView{Self: a, Voters: []NodeID{a, b, d}, Members: map[NodeID]bool{a: true, b: true, c: true}, Ready: map[NodeID]bool{a: true, b: true, d: true}},
			[]Action{{ActAddLearner, d}, {ActPromote, d}, {ActRemove, c}},
		},
		"the new one is dead": {
			GroupView{Self: a, Voters: []NodeID{a, b, d}, Members: map[NodeID]bool{a: true, b: true, c: true, d: false}, Ready: map[NodeID]bool{a: true, b: true, c: true}},
			nil,
		},
		"three to a voter and a learner": {
			GroupView{Self: b, Voters: []NodeID{a}, Learners: []NodeID{b}, Members: map[NodeID]bool{a: true, b: true, c: true}, Ready: all},
			[]Action{{ActRemove, c}, {ActTransfer, a}, {ActDemote, b}},
		},
		"paused": {
			GroupView{Self: a, Voters: []NodeID{a, b, c}, Members: map[NodeID]bool{a: true}, Ready: all, Paused: true},
			nil,
		},
		"a move was canceled": {
			GroupView{Self: a, Voters: []NodeID{a, b, c}, Members: map[NodeID]bool{a: true, b: true, c: true, d: false}, Ready: all},
			[]Action{{ActRemove, d}},
		},
		"those first who do not answer": {
			GroupView{Self: a, Voters: []NodeID{a}, Members: map[NodeID]bool{a: true, b: true, c: true, d: true, e: true}, Ready: map[NodeID]bool{a: true, b: true, c: true, d: true}},
			[]Action{{ActRemove, e}, {ActRemove, b}, {ActRemove, c}, {ActRemove, d}},
		},
		"a learner stays until its successor has caught up": {
			GroupView{Self: a, Voters: []NodeID{a}, Learners: []NodeID{c}, Members: map[NodeID]bool{a: true, b: false, c: false}, Ready: map[NodeID]bool{a: true, b: true}},
			nil,
		},
		"one that is dead does not keep it where three vote": {
			GroupView{Self: a, Voters: []NodeID{a, b, c}, Learners: []NodeID{d}, Members: map[NodeID]bool{a: true, b: true, c: true, d: false, e: false}, Ready: map[NodeID]bool{a: true, b: true, c: true, e: true}},
			[]Action{{ActRemove, e}},
		},
		"the last voter stays while the other has not caught up": {
			GroupView{Self: a, Voters: []NodeID{b}, Members: map[NodeID]bool{a: true, b: false}, Ready: map[NodeID]bool{a: true}},
			nil,
		},
	} {
		if got := script(t, s.view); !slices.Equal(got, s.want) {
			t.Errorf("%s: %v, not %v", what, got, s.want)
		}
	}
}
