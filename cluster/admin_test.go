package cluster

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

func (n *testNode) admin(token string) (*AdminClient, string) {
	h, err := Admin(AdminOptions{Self: n.self.ID, Meta: n.meta.Load(), Client: n.client, Replicas: n.list, Token: token, Release: "1.0"})
	n.w.check(err)
	s := httptest.NewServer(h)
	n.w.t.Cleanup(s.Close)
	return &AdminClient{Address: s.Listener.Addr().String(), Token: token}, s.URL
}

func TestAdmin(t *testing.T) {
	w := newWorld(t)
	nodes := []*testNode{w.start(aNode(1, "")), w.start(aNode(2, "")), w.start(aNode(3, "")), w.start(aNode(4, ""))}
	nodes[0].found(2, 3)
	for _, n := range nodes[1:] {
		n.join(nodes[0])
	}
	w.eventually("all have joined", func() bool { return len(nodes[0].document().Nodes) == 4 })
	c, _ := nodes[1].admin("secret")
	ctx := context.Background()
	var r Report
	w.eventually("it is settled", func() bool {
		var err error
		r, err = c.Status(ctx)
		return err == nil && r.Settled && len(r.Nodes) == 4 && len(r.Groups[1].Replicas) == 3 && w.settled(nodes...)
	})
	if len(r.Groups) != 3 || r.Groups[0].Voters != 3 || r.Groups[1].Voters != 3 || !r.Nodes[3].Answers {
		t.Errorf("%+v", r)
	}
	call := func(method, path string, body, out any) {
		t.Helper()
		if err := c.Call(ctx, method, path, body, out); err != nil {
			t.Errorf("%s %s: %v", method, path, err)
		}
	}
	refused := func(want, method, path string, body any) {
		t.Helper()
		if err := c.Call(ctx, method, path, body, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %s: wanted %q, got %v", method, path, want, err)
		}
	}
	s := nodes[1].document().Shards[0]
	to := missingFrom([]NodeID{id(1), id(2), id(3), id(4)}, s.Replicas)[0]
	from := nodes[0].document().Node(s.Replicas[1]).Client
	var move Accepted
	call(http.MethodPost, "/v1/moves", StartMove{s.ID, from, string(to)}, &move)
	if move.ID == 0 {
		t.Errorf("%+v", move)
	}
	w.eventually("the move ends", func() bool {
		var m MoveReport
		err := c.Call(ctx, http.MethodGet, "/v1/moves/"+itoa(move.ID), nil, &m)
		return err != nil && strings.Contains(err.Error(), "no such move")
	})
	refused("has no replica", http.MethodPost, "/v1/moves", StartMove{s.ID, from, string(to)})
	refused("is no member", http.MethodPost, "/v1/moves", StartMove{s.ID, "nobody", string(to)})
	refused("fits 4 nodes", http.MethodPost, NodePath("000", "/drain"), nil)
	refused("no move 99", http.MethodPost, "/v1/moves/99/pause", nil)
	refused("validation failed", http.MethodPost, "/v1/moves", map[string]any{"shard": "x"})
	refused("owns", http.MethodDelete, "/v1/shards/1", nil)

	var migration Accepted
	call(http.MethodPost, "/v1/migrations", StartMigration{1, 2, []Range{{0, 99}}}, &migration)
	refused("is under way", http.MethodPost, "/v1/migrations", StartMigration{1, 2, []Range{{99, 100}}})
	path := "/v1/migrations/" + itoa(migration.ID)
	call(http.MethodPost, path+"/pause", nil, nil)
	var m Migration
	call(http.MethodGet, path, nil, &m)
	if !m.Paused || m.State != MigrationCopying {
		t.Errorf("%+v", m)
	}
	call(http.MethodPost, path+"/resume", nil, nil)
	call(http.MethodDelete, path, nil, nil)
	call(http.MethodPost, "/v1/rebalance", nil, nil)
	call(http.MethodPost, "/v1/shards", AddShards{1}, nil)
	call(http.MethodPut, "/v1/replication-factor", SetReplicationFactor{2}, nil)
	call(http.MethodGet, "/v1/shards", nil, &[]GroupReport{})
	call(http.MethodGet, "/v1/nodes", nil, &[]NodeReport{})
	call(http.MethodGet, "/v1/moves", nil, &[]MoveReport{})
	call(http.MethodGet, "/v1/migrations", nil, &[]Migration{})
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

// TestAdminLetsIn: who shows the token, and without one everybody but a browser's page.
func TestAdminLetsIn(t *testing.T) {
	w := newWorld(t)
	n := w.start(aNode(1, ""))
	n.found(1, 3)
	get := func(url, header, value string) int {
		r, err := http.NewRequest(http.MethodGet, url+"/openapi.json", nil)
		w.check(err)
		if r.Header.Set(header, value); header == "Host" {
			r.Host = value
		}
		a, err := http.DefaultClient.Do(r)
		w.check(err)
		text, err := io.ReadAll(a.Body)
		w.check(err)
		_ = a.Body.Close()
		if a.StatusCode == http.StatusOK && !strings.Contains(string(text), "/v1/moves/{move}") {
			t.Errorf("the description does not tell of the moves: %.200s", text)
		}
		return a.StatusCode
	}
	_, locked := n.admin("secret")
	_, open := n.admin("")
	for _, c := range []struct {
		url, header, value string
		want               int
	}{
		{locked, "Authorization", "Bearer secret", 200},
		{locked, "Authorization", "Bearer secrets", 401},
		{locked, "Authorization", "secret", 401},
		{locked, "X", "y", 401},
		{open, "X", "y", 200},
		{open, "Origin", "http://evil.example", 403},
		{open, "Sec-Fetch-Site", "cross-site", 403},
		{open, "Host", "evil.example", 403},
		{open, "Host", "evil.example:7379", 403},
		{open, "Host", "127.0.0.1.evil.example", 403},
		{open, "Host", "10.0.0.1:7379", 403},
		{open, "Host", "localhost:7379", 200},
		{open, "Host", "LocalHost", 200},
		{open, "Host", "127.0.0.2", 200},
		{open, "Host", "[::1]:7379", 200},
		{open, "Host", "[::1]", 200},
		{locked, "Host", "evil.example", 401},
	} {
		if got := get(c.url, c.header, c.value); got != c.want {
			t.Errorf("%s %s: %d, not %d", c.header, c.value, got, c.want)
		}
	}
}
