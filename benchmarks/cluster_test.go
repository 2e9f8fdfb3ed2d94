package main

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ms is a moment of events.
func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// at is the same moment as a time.
func at(n int) time.Time { return origin.Add(ms(n)) }

func TestLongestPause(t *testing.T) {
	ok := func(due, done int) event { return event{due: ms(due), sent: ms(due), done: ms(done)} }
	bad := func(due, done int) event { return event{due: ms(due), sent: ms(due), done: ms(done), failed: true} }
	for _, test := range []struct {
		name   string
		events []event
		want   int // ms
	}{
		{"nothing", nil, 0},
		{"the slowest", []event{ok(0, 1), ok(10, 17), ok(20, 22)}, 7},
		{"a failure lasts until the next success", []event{ok(0, 1), bad(10, 12), bad(20, 23), ok(30, 34), ok(40, 41)}, 24},
		{"failures up to the end", []event{ok(0, 1), bad(10, 12), bad(20, 45)}, 35},
		{"from before does not count", []event{ok(-50, -1), ok(10, 11)}, 1},
		{"from behind does not count", []event{ok(10, 11), ok(101, 300)}, 1},
		{"one that began within counts", []event{ok(10, 11), bad(90, 99), ok(110, 130)}, 40},
	} {
		if got := longestPause(test.events, at(0), at(100)); got != ms(test.want) {
			t.Errorf("%s: %v, want %d ms", test.name, got, test.want)
		}
	}
}

func TestFirstAfter(t *testing.T) {
	events := []event{
		{sent: ms(0), done: ms(1)},
		{sent: ms(10), done: ms(60)}, // sent to who died: its answer says nothing of the others
		{sent: ms(61), done: ms(62), failed: true},
		{sent: ms(70), done: ms(75)},
		{sent: ms(80), done: ms(81)},
	}
	if got, ok := firstAfter(events, at(20)); !ok || !got.Equal(at(75)) {
		t.Errorf("got %v, %v", got.Sub(origin), ok)
	}
	if _, ok := firstAfter(events[:3], at(20)); ok {
		t.Error("a failure counts as an acknowledged write")
	}
}

func TestLatencies(t *testing.T) {
	good, failed := latencies([]event{
		{due: ms(30), sent: ms(35), done: ms(39)},
		{due: ms(10), sent: ms(10), done: ms(11)},
		{due: ms(20), sent: ms(20), done: ms(21), failed: true},
		{due: ms(-1), done: ms(50)}, {due: ms(101), done: ms(150), failed: true},
	}, at(0), at(100))
	if want := []time.Duration{time.Millisecond, 9 * time.Millisecond}; !slices.Equal(good, want) || failed != 1 {
		t.Errorf("got %v and %d failed", good, failed)
	}
}

func TestSlots(t *testing.T) {
	// As redis-server's CLUSTER KEYSLOT has them; the first is the check value of CRC16/XMODEM.
	for key, want := range map[string]int{"123456789": 0x31c3, "foo": 12182, "bar": 5061, "": 0} {
		if got := slotOf([]byte(key)); got != want {
			t.Errorf("slot of %q: %d, want %d", key, got, want)
		}
	}
	first, rest := halved([]slotRange{{0, 9}, {100, 129}})
	if slotText(first) != "0-9,100-109" || slotText(rest) != "110-129" {
		t.Errorf("halves are %s and %s", slotText(first), slotText(rest))
	}
	for _, i := range keysIn(first, 50, keyOf) {
		if !holds(first, slotOf(keyOf(i))) {
			t.Errorf("key %d is not in %s", i, slotText(first))
		}
	}
}

func TestStatus(t *testing.T) {
	status, err := readStatus([]byte(`{"version":4,"nodes":[{"id":"aa","client":"127.0.0.1:7001"},{"id":"bb","client":"127.0.0.1:7002"}],
		"groups":[{"group":0,"replicas":[]},{"group":1,"slots":[{"from":0,"to":16383}],"leader":"bb",
		"replicas":[{"node":"aa","wanted":true},{"node":"bb","wanted":true},{"node":"cc","wanted":false}]}],"migrations":[{"id":3}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if sh := status.Shards[0]; status.clientOf(sh.Leader) != "127.0.0.1:7002" || status.nodeAt("127.0.0.1:7001") != "aa" ||
		len(status.Migrations) != 1 || sh.Slots[0].To != 16383 || len(sh.Replicas) != 2 {
		t.Errorf("got %+v", status)
	}
	if _, err := readStatus([]byte(`{}`)); err == nil {
		t.Error("a status without nodes is taken for one")
	}
}

func TestReplicasMoved(t *testing.T) {
	shards := func(replicas ...string) (s clusterStatus) {
		for i, r := range replicas {
			s.Shards = append(s.Shards, shardStatus{ID: i + 1, Replicas: strings.Split(r, "")})
		}
		return s
	}
	all, moved, strayed := replicasMoved(shards("abc", "abc", "abc", "abc"), shards("abd", "cba", "dbc", "abc"), "d")
	if all != 12 || moved != 2 || strayed != 0 {
		t.Errorf("got %d of %d moved, %d strayed", moved, all, strayed)
	}
	if _, _, strayed := replicasMoved(shards("ab", "bc"), shards("ac", "bd"), "d"); strayed != 1 {
		t.Errorf("got %d strayed, want that of c", strayed)
	}
}

func TestFilled(t *testing.T) {
	got := strings.Join(filled(migrateCommand, "FROM", "1", "TO", "2", "SLOTS", "0-99,200-299", "ADDR", "127.0.0.1:7001"), " ")
	if got != "migrate-slots --addr 127.0.0.1:7001 --from 1 --to 2 --slots 0-99,200-299" {
		t.Errorf("got %q", got)
	}
}

// fakeNode answers SET and GET from a map that it shares with others.
type fakeNode struct {
	listener net.Listener
	shared   *sharedMap
	mu       struct {
		sync.Mutex
		conns []net.Conn
	}
}

type sharedMap struct {
	mu struct {
		sync.Mutex
		values map[string]string
	}
}

func startFake(t *testing.T, shared *sharedMap) *fakeNode {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeNode{listener: listener, shared: shared}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.mu.conns = append(f.mu.conns, conn)
			f.mu.Unlock()
			group.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		f.kill()
		group.Wait()
	})
	return f
}

func (f *fakeNode) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		var args []string
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		for range int(line[1] - '0') {
			arg, err := readReply(in, nil)
			if err != nil {
				return
			}
			args = append(args, strings.Split(string(arg), "\r\n")[1])
		}
		f.shared.mu.Lock()
		reply := "+OK\r\n"
		if args[0] == "SET" {
			f.shared.mu.values[args[1]] = args[2]
		} else if value, ok := f.shared.mu.values[args[1]]; ok {
			reply = fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
		} else {
			reply = "$-1\r\n"
		}
		f.shared.mu.Unlock()
		if _, err := conn.Write([]byte(reply)); err != nil {
			return
		}
	}
}

func (f *fakeNode) kill() {
	f.listener.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.mu.conns {
		conn.Close()
	}
}

// Writers go on at another node when theirs dies, and what one node forgets of what it acknowledged is found to be missing.
func TestWritersGoOnAndLossIsFound(t *testing.T) {
	shared := &sharedMap{}
	shared.mu.values = map[string]string{}
	first, second := startFake(t, shared), startFake(t, shared)
	addrs := []string{first.listener.Addr().String(), second.listener.Addr().String()}
	w := &writer{id: 7, caller: caller{ctx: t.Context(), addrs: addrs}}
	defer w.caller.close()
	p := &paced{period: time.Millisecond, skip: true, send: w.send}
	load := startPaced(t.Context(), []*paced{p})
	defer load.stop()
	await := func(after time.Time) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			if _, ok := firstAfter(p.events(), after); ok {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the writer does not go on")
			}
		}
	}
	await(time.Now())
	first.kill()
	await(time.Now())
	load.stop()
	if load.fault() == nil {
		t.Error("nothing failed although a node died")
	}
	missing, err := missingOf(addrs[1], w.id, w.acked)
	if err != nil || len(missing) > 0 {
		t.Errorf("%v missing, %v", missing, err)
	}
	lost, changed := w.acked[0], w.acked[len(w.acked)-1]
	delete(shared.mu.values, string(writtenKey(7, lost)))
	shared.mu.values[string(writtenKey(7, changed))] = "other"
	missing, err = missingOf(addrs[1], w.id, w.acked)
	if want := []string{string(writtenKey(7, lost)), string(writtenKey(7, changed))}; err != nil || !slices.Equal(missing, want) {
		t.Errorf("%v missing, %v; want %v", missing, err, want)
	}
}
