package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/larder-db/larder/cluster"
)

func TestSlotRanges(t *testing.T) {
	want := []cluster.Range{{From: 0, To: 99}, {From: 200, To: 200}, {From: 300, To: 16383}}
	got, err := parseRanges("0-99,200,300-16383")
	if err != nil || !reflect.DeepEqual(got, want) || ranges(got) != "0-99,200,300-16383" {
		t.Errorf("%v %v", err, got)
	}
	for _, bad := range []string{"", "-", "1-", "-1", "5-3", "16384", "1,,2", "x"} {
		if got, err := parseRanges(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func TestAdminAddress(t *testing.T) {
	for _, c := range []struct{ admin, node, want string }{
		{"127.0.0.1:7379", "10.0.0.1:6379", "127.0.0.1:7379"},
		{"0.0.0.0:7379", "10.0.0.1:6379", "10.0.0.1:7379"},
		{"[::]:7379", "[::1]:6379", "[::1]:7379"},
		{"nowhere", "10.0.0.1:6379", ""},
	} {
		if got, err := reachable(c.admin, c.node); got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestReportIsReadable(t *testing.T) {
	var out strings.Builder
	err := printReport(&out, &cluster.Report{
		ClusterID: "cc", Epoch: 3, ReplicationFactor: 3,
		Nodes: []cluster.NodeReport{{Node: cluster.Node{ID: "aaaaaaaaaaaa", Client: "h:1", State: cluster.NodeUp}, Answers: true, Replicas: 1, Leads: 1}},
		Groups: []cluster.GroupReport{
			{Group: 0, Term: 2, Replicas: []cluster.ReplicaReport{{Node: "aaaaaaaaaaaa", Role: "leader", Wanted: true}}},
			{Group: 1, Slots: []cluster.Range{{From: 0, To: 9}}, Replicas: []cluster.ReplicaReport{{Node: "bbbbbbbbbbbb", Role: "voter", Lag: 7}}},
		},
		Moves:      []cluster.MoveReport{{Move: cluster.Move{ID: 5, Shard: 1, To: "bbbbbbbbbbbb"}, Step: "adds the new replica"}},
		Migrations: []cluster.MigrationReport{{Migration: cluster.Migration{ID: 6, From: 1, To: 2, State: cluster.MigrationCopying, Paused: true}, Sent: 1500000, Trouble: "shard 2 has 1 of 3 voters"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"changing", "aaaaaaaa  h:1", "meta ", "aaaaaaaa*", "bbbbbbbb+ (leaves) (silent) (7 behind)", "adds the new replica", "copying, paused", "1.5 MB  shard 2 has 1 of 3 voters"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestWaitSaysWhatLacks(t *testing.T) {
	leader := cluster.ReplicaReport{Node: "a", Role: "leader", Answers: true}
	other := cluster.ReplicaReport{Node: "c", Role: "voter", Answers: true}
	r := cluster.Report{Groups: []cluster.GroupReport{
		{Leader: "a", Voters: 3, Replicas: []cluster.ReplicaReport{leader, other, other}},
		{Group: 1, Leader: "a", Voters: 3, Replicas: []cluster.ReplicaReport{leader, other, {Node: "b", Role: "voter"}, {Node: "d", Role: "learner", Answers: true}}},
	}}
	for want, c := range map[string]clusterWaitCmd{
		"group 1 has 3 voters, of which 2 answer": {Voters: 3},
		"":                      {Voters: 2},
		"changes are under way": {Voters: 1, Settled: true},
	} {
		if got := c.lacks(&r); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	r.Settled = true
	voter := cluster.ReplicaReport{Node: "bbbbbbbbbb", Role: "voter"}
	for want, v := range map[string]func(v *cluster.ReplicaReport){
		"node bbbbbbbb, which votes in group 1, does not answer": func(*cluster.ReplicaReport) {},
		"node bbbbbbbb is 2000 entries behind in group 1":        func(v *cluster.ReplicaReport) { v.Answers, v.Lag = true, 2000 },
		"": func(v *cluster.ReplicaReport) { v.Answers, v.Lag = true, 7 },
	} {
		one := voter
		v(&one)
		r.Groups[1].Replicas = []cluster.ReplicaReport{leader, one}
		if got := (&clusterWaitCmd{Voters: 1, Settled: true}).lacks(&r); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	r.Groups[0].Leader = ""
	if got := (&clusterWaitCmd{}).lacks(&r); got != "group 0 has no leader" {
		t.Error(got)
	}
}

// TestWatchTellsACancellation: the migration or the move has ended by the time the API is asked, and the slots are with the
// target or not, or the replica.
func TestWatchTellsACancellation(t *testing.T) {
	var owned []cluster.Range
	var holds cluster.ReplicaReport
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var out any = cluster.Accepted{ID: 7}
		if r.Method == http.MethodGet {
			replicas := []cluster.ReplicaReport{{Node: "from", Wanted: true}, holds}
			out = cluster.Report{
				Nodes:  []cluster.NodeReport{{Node: cluster.Node{ID: "from"}}, {Node: cluster.Node{ID: "target", Client: "there:1"}}},
				Groups: []cluster.GroupReport{{Group: 0}, {Group: 1, Replicas: replicas}, {Group: 2, Slots: owned}},
			}
		}
		if err := json.NewEncoder(w).Encode(out); err != nil {
			t.Error(err)
		}
	}))
	defer api.Close()
	c := clusterMigrateCmd{adminTarget: adminTarget{Admin: api.Listener.Addr().String()}, From: 1, To: 2, Slots: "0-9,20", Watch: true}
	for _, owned = range [][]cluster.Range{{{From: 0, To: 20}}, {{From: 0, To: 9}, {From: 20, To: 99}}} {
		if err := c.Run(); err != nil {
			t.Errorf("%v: %v", owned, err)
		}
	}
	for _, owned = range [][]cluster.Range{nil, {{From: 0, To: 9}}, {{From: 1, To: 99}}} {
		if err := c.Run(); err == nil || !strings.Contains(err.Error(), "migration 7 was canceled") {
			t.Errorf("%v: %v", owned, err)
		}
	}
	for _, to := range []string{"target", "tar", "there:1"} {
		move := clusterMoveCmd{adminTarget: c.adminTarget, Shard: 1, From: "elsewhere", To: to, Watch: true}
		holds = cluster.ReplicaReport{Node: "target", Wanted: true}
		if err := move.Run(); err != nil {
			t.Error(err)
		}
		for _, holds = range []cluster.ReplicaReport{{Node: "target"}, {Node: "other", Wanted: true}} {
			if err := move.Run(); err == nil || !strings.Contains(err.Error(), "move 7 was canceled") {
				t.Errorf("%+v: %v", holds, err)
			}
		}
	}
}
