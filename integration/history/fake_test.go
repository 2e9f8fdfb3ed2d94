package history

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

// fake is a server in memory that keeps all promises but one. It is slow in places and answers that it does not know or
// does not want to, truthfully; what it must not do, it does once in a while if its flaw says so.
type fake struct {
	flaw string // under mu
	// parted says that its two nodes share the keys, and send a client that is wrong to the other. Keys change nodes.
	parted bool

	mu struct {
		sync.Mutex
		data     map[string][]string // strings are one element
		deadline map[string]time.Time
		versions map[string]int
		rng      *rand.Rand
		commands int
		moved    int        // how often it has sent a client to the other node
		flaws    int        // how often it has done what it must not
		past     []snapshot // newest last
		late     [][]string // refused writes that it carries out all the same
	}
}

// snapshot is an earlier state.
type snapshot map[string][]string

func newFake(flaw string) *fake {
	f := &fake{flaw: flaw}
	f.mu.data, f.mu.versions, f.mu.deadline = map[string][]string{}, map[string]int{}, map[string]time.Time{}
	f.mu.rng = rand.New(rand.NewPCG(1, 2))
	return f
}

func (f *fake) Nodes() int { return 2 }
func (f *fake) Find(addr string) int {
	return slices.Index([]string{"10.0.0.1:7001", "10.0.0.2:7002"}, addr)
}

func (f *fake) Dial(node int) (Conn, error) {
	if f.chance(50) {
		return nil, errors.New("refused")
	}
	return &fakeConn{fake: f, node: node, watched: map[string]int{}}, nil
}

// keysMove is after how many commands all keys change nodes.
const keysMove = 5000

// elsewhereLocked tells whether another node has the key now, and answers as Redis does.
func (f *fake) elsewhereLocked(node int, args []string) (nodes.Reply, bool) {
	if !f.parted || len(args) < 2 || args[0] == "ECHO" {
		return nodes.Reply{}, false
	}
	tag, _, _ := strings.Cut(args[1], "}")
	owner := (len(tag) + int(tag[len(tag)-1]) + f.mu.commands/keysMove) % 2
	if owner == node {
		return nodes.Reply{}, false
	}
	f.mu.moved++
	return errorOf("MOVED 7 " + []string{"10.0.0.1:7001", "10.0.0.2:7002"}[owner]), true
}

func (f *fake) chance(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.rng.IntN(n) == 0
}

// errsLocked says that the fake does now what it must not, if that is the flaw.
func (f *fake) errsLocked(flaw string, oneIn int) bool {
	if f.flaw == flaw && f.mu.rng.IntN(oneIn) == 0 {
		f.mu.flaws++
		return true
	}
	return false
}

type fakeConn struct {
	fake    *fake
	node    int
	aborted bool       // EXEC will be refused, since a command of the transaction was
	queue   [][]string // of MULTI; nil outside
	multi   bool
	watched map[string]int
}

func (c *fakeConn) Close() error { return nil }

var errLost = errors.New("connection lost")

func (c *fakeConn) Do(_ time.Duration, commands ...[]string) ([]nodes.Reply, error) {
	var replies []nodes.Reply
	for _, args := range commands {
		c.fake.dawdle()
		reply := c.command(args)
		c.fake.dawdle()
		if c.fake.chance(300) {
			return replies, errLost // though it is done
		}
		replies = append(replies, reply)
	}
	c.fake.mu.Lock()
	defer c.fake.mu.Unlock()
	if len(replies) == 3 && c.fake.errsLocked("crossed replies", 5) {
		replies[0], replies[1] = replies[1], replies[0]
	}
	return replies, nil
}

// dawdle takes a little time, so that clients overlap.
func (f *fake) dawdle() {
	f.mu.Lock()
	d := time.Duration(f.mu.rng.IntN(40)) * time.Microsecond
	f.mu.Unlock()
	time.Sleep(d)
}

func errorOf(text string) nodes.Reply { return nodes.Reply{Kind: '-', Text: text} }
func simple(text string) nodes.Reply  { return nodes.Reply{Kind: '+', Text: text} }
func number(n int) nodes.Reply        { return nodes.Reply{Kind: ':', Text: strconv.Itoa(n)} }

const indeterminate = "INDETERMINATE nobody knows"

func (c *fakeConn) command(args []string) nodes.Reply {
	f := c.fake
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passLocked()
	if reply, elsewhere := f.elsewhereLocked(c.node, args); elsewhere {
		c.aborted = c.aborted || c.multi
		return reply
	}
	switch {
	case args[0] == "EXEC":
		return c.execLocked()
	case args[0] == "MULTI":
		c.multi, c.queue = true, nil
		return simple("OK")
	case c.multi && !f.errsLocked("carries out within MULTI", 50):
		c.queue = append(c.queue, args)
		return simple("QUEUED")
	case args[0] == "WATCH":
		for _, key := range args[1:] {
			c.watched[key] = f.mu.versions[key]
		}
		return simple("OK")
	}
	return f.singleLocked(args)
}

// passLocked lets time pass: what goes wrong by itself does so here.
func (f *fake) passLocked() {
	f.mu.commands++
	if f.mu.commands%20 == 0 {
		now := snapshot{}
		for key, value := range f.mu.data {
			now[key] = slices.Clone(value)
		}
		f.mu.past = append(f.mu.past[max(0, len(f.mu.past)-2):], now)
		for _, args := range f.mu.late {
			f.doLocked(args)
		}
		f.mu.late = nil
	}
	if len(f.mu.past) == 0 {
		return
	}
	if f.errsLocked("forgets its last writes", 1000) {
		f.mu.data = maps.Clone(f.mu.past[0])
	}
	if f.errsLocked("forgets all", 1000) {
		clear(f.mu.data)
	}
}

// singleLocked carries out a command outside MULTI, or says truthfully that it did not, or does not know.
func (f *fake) singleLocked(args []string) nodes.Reply {
	write := !slices.Contains([]string{"GET", "MGET", "LRANGE", "SMEMBERS", "ECHO"}, args[0])
	switch {
	case !write && len(f.mu.past) > 0 && f.errsLocked("reads the past", 50):
		now := f.mu.data
		f.mu.data = f.mu.past[0]
		defer func() { f.mu.data = now }()
	case !write:
	case f.mu.rng.IntN(100) == 0:
		if f.mu.rng.IntN(2) == 0 {
			f.doLocked(args)
		}
		return errorOf(indeterminate)
	case f.mu.rng.IntN(100) == 0:
		if f.errsLocked("carries out what it refused, later", 1) {
			f.mu.late = append(f.mu.late, args)
		}
		return errorOf("CLUSTERDOWN no leader")
	case f.errsLocked("acknowledges what it did not do", 60):
		return f.unseenLocked(args)
	case f.errsLocked("carries out twice", 60):
		f.doLocked(args)
	case f.errsLocked("says failed of what it did", 60):
		f.doLocked(args)
		return errorOf("TRYAGAIN later")
	}
	return f.doLocked(args)
}

// unseenLocked answers as if the command were carried out.
func (f *fake) unseenLocked(args []string) nodes.Reply {
	before := map[string][]string{}
	for key, value := range f.mu.data {
		before[key] = slices.Clone(value)
	}
	reply := f.doLocked(args)
	f.mu.data = before
	return reply
}

func (c *fakeConn) execLocked() nodes.Reply {
	f := c.fake
	queue, watched, aborted := c.queue, c.watched, c.aborted
	c.multi, c.aborted, c.queue, c.watched = false, false, nil, map[string]int{}
	if aborted {
		return errorOf("EXECABORT Transaction discarded because of previous errors.")
	}
	if len(queue) > 0 {
		if reply, elsewhere := f.elsewhereLocked(c.node, queue[0]); elsewhere {
			return reply
		}
	}
	for key, version := range watched {
		if f.mu.versions[key] != version && !f.errsLocked("does not look at watched keys", 2) {
			return nodes.Reply{Kind: '*', Nil: true}
		}
	}
	if f.mu.rng.IntN(100) == 0 {
		return errorOf("EXECABORT no leader")
	}
	r := nodes.Reply{Kind: '*'}
	for i, args := range queue {
		if i > 0 && f.errsLocked("tears transactions", 20) {
			f.mu.Unlock()
			time.Sleep(time.Millisecond)
			f.mu.Lock()
		}
		r.Elements = append(r.Elements, f.doLocked(args))
	}
	if f.errsLocked("aborts what it did", 50) {
		return errorOf("EXECABORT no leader")
	}
	return r
}

// expireLocked takes a key away whose time has come, and others if that is the flaw.
func (f *fake) expireLocked(key string) {
	deadline, ends := f.mu.deadline[key]
	if !ends || f.mu.data[key] == nil {
		return
	}
	left := time.Until(deadline)
	switch {
	case left > 2*clockMargin && f.errsLocked("forgets before the time", 20):
	case left > 0:
		return
	case f.flaw == "keeps what has ended":
		if left < -2*clockMargin { // before that nobody can tell
			f.mu.flaws++
		}
		return
	}
	f.mu.versions[key]++
	delete(f.mu.data, key)
}

// doLocked carries out a command, as Redis does.
func (f *fake) doLocked(args []string) nodes.Reply {
	f.expireLocked(args[1])
	key, value := args[1], f.mu.data[args[1]]
	put := func(elements ...string) {
		f.mu.versions[key]++
		f.mu.data[key] = elements
	}
	text := func(value []string) nodes.Reply {
		if value == nil {
			return nodes.Reply{Kind: '$', Nil: true}
		}
		return nodes.Reply{Kind: '$', Text: value[0]}
	}
	switch args[0] {
	case "ECHO":
		return nodes.Reply{Kind: '$', Text: key}
	case "GET":
		return text(value)
	case "SET":
		if last := args[len(args)-1]; last == "NX" && value != nil || slices.Contains(args[3:], "XX") && value == nil {
			return nodes.Reply{Kind: '$', Nil: true}
		}
		put(args[2])
		delete(f.mu.deadline, key)
		if at := slices.Index(args, "PX"); at > 0 {
			f.mu.deadline[key] = time.Now().Add(time.Duration(balance(args[at+1])) * time.Millisecond)
		}
		return simple("OK")
	case "GETSET":
		delete(f.mu.deadline, key)
		put(args[2])
		return text(value)
	case "DEL":
		if value == nil {
			return number(0)
		}
		f.mu.versions[key]++
		delete(f.mu.data, key)
		return number(1)
	case "INCR", "INCRBY":
		n := 1
		if args[0] == "INCRBY" {
			n, _ = strconv.Atoi(args[2])
		}
		if value != nil {
			n += int(balance(value[0]))
		}
		put(strconv.Itoa(n))
		return number(n)
	case "RPUSH":
		put(append(slices.Clone(value), args[2:]...)...)
		return number(len(value) + len(args) - 2)
	case "SADD":
		added := slices.DeleteFunc(slices.Clone(args[2:]), func(m string) bool { return slices.Contains(value, m) })
		put(append(slices.Clone(value), added...)...)
		return number(len(added))
	case "LRANGE", "SMEMBERS":
		r := nodes.Reply{Kind: '*'}
		for _, e := range value {
			r.Elements = append(r.Elements, nodes.Reply{Kind: '$', Text: e})
		}
		return r
	case "MGET":
		r := nodes.Reply{Kind: '*'}
		for _, k := range args[1:] {
			r.Elements = append(r.Elements, text(f.mu.data[k]))
		}
		return r
	}
	return errorOf("ERR unknown command " + args[0])
}

// observe lets clients work on a system until enough is acknowledged, and checks what they saw.
func observe(t *testing.T, system System) (*History, *Verdict) {
	t.Helper()
	h := New()
	w := &Workload{System: system, History: h, Clients: 8, Seed: 1, Timeout: time.Second}
	f, isFake := system.(*fake)
	if isFake && f.flaw == "keeps what has ended" {
		w.Pause = 3 * clientPause // so that keys are in use when it shows
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		w.Run(stop)
		close(stopped)
	}()
	for deadline := time.Now().Add(time.Minute); w.Acknowledged() < 3000 || isFake && !f.hasErred(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("only %d operations were acknowledged, or the flaw does not show", w.Acknowledged())
			break
		}
	}
	close(stop)
	<-stopped
	if isFake {
		f.repent()
	}
	if err := w.ReadAll(time.Minute); err != nil {
		t.Fatal(err)
	}
	return h, h.Check()
}

// enoughFlaws is how often a fake does what it must not: some of it nobody can notice, such as a lost write that would
// have been overwritten before anybody read it.
const enoughFlaws = 8

func (f *fake) hasErred() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flaw == "" || f.mu.flaws >= enoughFlaws
}

// repent ends the flaw: what the fake says then shows what it has lost, and adds nothing.
func (f *fake) repent() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flaw = ""
}

func TestRightSystemPasses(t *testing.T) {
	for _, parted := range []bool{false, true} {
		t.Run(fmt.Sprintf("parted=%v", parted), func(t *testing.T) {
			t.Parallel()
			f := newFake("")
			f.parted = parted
			h, v := observe(t, f)
			if len(v.Violations) > 0 {
				t.Errorf("%d violations, the first: %s", len(v.Violations), v.Violations[0])
			}
			if len(v.Undecided) > 0 {
				t.Errorf("%d of %d keys are undecided", len(v.Undecided), v.Keys)
			}
			all := map[Outcome]int{}
			for _, outcomes := range h.Tally() {
				for outcome, n := range outcomes {
					all[outcome] += n
				}
			}
			if all[OK] == 0 || all[Failed] == 0 || all[Unknown] == 0 {
				t.Errorf("not all outcomes came up: %v", all)
			}
			if parted && (f.mu.moved == 0 || f.mu.moved > len(h.Ops())/3) {
				t.Errorf("%d of %d operations went to a node that had sent them away: MOVED is not followed", f.mu.moved, len(h.Ops()))
			}
		})
	}
}

func TestFlawsAreFound(t *testing.T) {
	for _, flaw := range []string{"reads the past", "acknowledges what it did not do", "carries out twice",
		"says failed of what it did", "carries out what it refused, later", "crossed replies", "does not look at watched keys",
		"tears transactions", "aborts what it did", "carries out within MULTI", "forgets its last writes", "forgets all",
		"forgets before the time", "keeps what has ended"} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			h, v := observe(t, newFake(flaw))
			if len(v.Violations) == 0 {
				t.Fatal("not found")
			}
			t.Logf("%d violations, the first: %s", len(v.Violations), shortened(v.Violations[0]))
			folder := t.TempDir()
			if err := Keep(folder, h, v); err != nil {
				t.Errorf("the history cannot be kept: %v", err)
			}
		})
	}
}
