package cluster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm"
)

// AgentOptions are what a node's agent works with.
type AgentOptions struct {
	Self     NodeID
	Meta     *Meta
	Client   *Client
	Replicas Replicas
	Planner  Planner
	// ReplaceAfter, if set, is asked for the planner's at each run.
	ReplaceAfter func() time.Duration
	// Clock is the wall clock, with a monotonic reading.
	Clock func() time.Time
	// Tick is how often the agent looks at what it cannot be told of.
	Tick time.Duration
	// Call bounds a call to another node.
	Call time.Duration
	// Rest is how long a group is left alone after its leadership was to be handed on, whether it was or not: while that
	// goes on, the group takes no writes.
	Rest time.Duration
	// Slack is how many entries a replica that has caught up may be behind.
	Slack  uint64
	Logger *slog.Logger
}

// EnsureDefaults fills in what was left out.
func (o *AgentOptions) EnsureDefaults() {
	o.Planner.EnsureDefaults()
	if o.Tick == 0 {
		o.Tick = 500 * time.Millisecond
	}
	if o.Call == 0 {
		o.Call = 2 * time.Second
	}
	if o.Rest == 0 {
		o.Rest = 5 * time.Second
	}
	if o.Slack == 0 {
		o.Slack = 1000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate reports every fault at once.
func (o *AgentOptions) Validate() error {
	var f faults
	f.check(isHexID(string(o.Self)), "cluster options: Self is no node's ID")
	f.check(o.Meta != nil, "cluster options: no Meta")
	f.check(o.Client != nil, "cluster options: no Client")
	f.check(o.Replicas != nil, "cluster options: no Replicas")
	f.check(o.Clock != nil, "cluster options: no Clock")
	f.check(o.Tick > 0 && o.Call > 0, "cluster options: Tick or Call is not positive")
	return errors.Join(f...)
}

// Agent makes what the document says come true, as far as it is this node's part: while it leads the meta group it plans,
// and it changes the membership of the groups that it leads.
type Agent struct {
	opts   AgentOptions
	ctx    context.Context
	cancel context.CancelFunc
	loops  sync.WaitGroup
	heard  liveness

	mu struct {
		sync.Mutex
		busy  map[uint32]bool      // groups for which a step is under way
		rests map[uint32]time.Time // groups whose leadership is not handed on before
	}
}

// StartAgent starts the agent's goroutines.
func StartAgent(o AgentOptions) (*Agent, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	a := &Agent{opts: o}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.mu.busy, a.mu.rests = map[uint32]bool{}, map[uint32]time.Time{}
	a.heard.mu.last = map[NodeID]time.Time{}
	a.loops.Go(a.plan)
	a.loops.Go(a.groups)
	return a, nil
}

// Close stops the agent and waits for its goroutines. Groups that are closed first let it go at once; otherwise a change
// of a group that is under way is waited for.
func (a *Agent) Close() {
	a.cancel()
	a.loops.Wait()
}

// each calls do whenever the document changes and at each tick, until the agent is closed.
func (a *Agent) each(do func(v *View)) {
	tick := time.NewTicker(a.opts.Tick)
	defer tick.Stop()
	for {
		changed := a.opts.Meta.Changed()
		if v := a.opts.Meta.View(); v != nil {
			do(v)
		}
		select {
		case <-a.ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

// plan is the meta leader's loop.
func (a *Agent) plan() {
	var pings sync.WaitGroup
	defer pings.Wait()
	led := false
	a.each(func(v *View) {
		leads := a.opts.Meta.Leads()
		if leads && !led {
			a.heard.reset() // what was heard before says nothing: others did the listening
		}
		led = leads
		if !leads {
			return
		}
		for _, n := range v.Document.Nodes {
			a.listen(&pings, n)
		}
		now := a.opts.Clock()
		silence := a.heard.silence(v.Document, a.opts.Self, now)
		_, err := a.opts.Meta.Update(a.ctx, func(d Document) (Document, error) {
			return a.planner().Plan(d, silence, now.UnixMilli())
		})
		a.tell("plan", err)
	})
}

func (a *Agent) planner() *Planner {
	p := a.opts.Planner
	if a.opts.ReplaceAfter != nil {
		p.ReplaceAfter = a.opts.ReplaceAfter()
		p.EnsureDefaults()
	}
	return &p
}

// tell logs what went wrong, unless it is part of the course of things.
func (a *Agent) tell(what string, err error) {
	if err == nil || a.ctx.Err() != nil || errors.Is(err, raftfsm.ErrNotLeader) || errors.Is(err, raftfsm.ErrClosed) {
		return
	}
	a.opts.Logger.Warn("cluster: "+what, "error", err)
}

// listen pings a node, unless a ping is under way or the last one is recent.
func (a *Agent) listen(pings *sync.WaitGroup, n Node) {
	if n.ID == a.opts.Self || !a.heard.begin(n.ID, a.opts.Clock(), a.opts.Tick/2) {
		return
	}
	pings.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, a.opts.Call)
		defer cancel()
		p, err := a.opts.Client.Ping(ctx, n.Peer)
		a.heard.end(n.ID, err == nil && p.Node == n.ID, a.opts.Clock())
	})
}

// liveness is when nodes were last heard of, by this leader of the meta group.
type liveness struct {
	mu struct {
		sync.Mutex
		last  map[NodeID]time.Time
		asked map[NodeID]time.Time
		busy  map[NodeID]bool
	}
}

func (l *liveness) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.mu.last)
}

func (l *liveness) begin(id NodeID, now time.Time, pause time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.busy == nil {
		l.mu.busy, l.mu.asked = map[NodeID]bool{}, map[NodeID]time.Time{}
	}
	if at, ok := l.mu.asked[id]; l.mu.busy[id] || ok && now.Sub(at) < pause {
		return false
	}
	l.mu.busy[id], l.mu.asked[id] = true, now
	return true
}

func (l *liveness) end(id NodeID, answered bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.mu.busy, id)
	if answered {
		l.mu.last[id] = now
	}
}

// silence is how long each node has been silent. For one that has not been heard of yet in this leadership it begins now;
// if it was gone, it is not back before it has been heard of.
func (l *liveness) silence(d *Document, self NodeID, now time.Time) Silence {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Silence{self: 0}
	for _, n := range d.Nodes {
		at, heard := l.mu.last[n.ID]
		switch {
		case n.ID == self:
		case heard:
			s[n.ID] = now.Sub(at)
		case n.State != NodeGone:
			s[n.ID], l.mu.last[n.ID] = 0, now
		}
	}
	return s
}

// groups is the loop that looks after the groups that this node leads.
func (a *Agent) groups() {
	a.each(func(v *View) {
		for group, r := range a.opts.Replicas() {
			if !r.CanRead() || !a.wants(v, group, r) || !a.take(group) {
				continue
			}
			a.loops.Go(func() {
				defer a.give(group)
				a.lookAfter(group, r)
			})
		}
	})
}

func (a *Agent) take(group uint32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.busy[group] {
		return false
	}
	a.mu.busy[group] = true
	return true
}

func (a *Agent) give(group uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.mu.busy, group)
}

// wants says whether there may be something to do for a group; it asks nobody.
func (a *Agent) wants(v *View, group uint32, r Replica) bool {
	g := a.groupView(v, group, r)
	if len(g.Voters) == 0 {
		return false // the document does not have it
	}
	if !g.Settled() || g.Voters[0] != a.opts.Self && !a.rests(group) {
		return true
	}
	s := v.Shard(group)
	return s != nil && (v.Document.moving(group) != nil || s.Leader != a.opts.Self || s.Term < r.Stats().Term)
}

// groupView is what is known of a group without asking anybody.
func (a *Agent) groupView(v *View, group uint32, r Replica) GroupView {
	g := GroupView{Self: a.opts.Self, Paused: v.Document.ShardPaused(group), Members: map[NodeID]bool{}}
	g.Voters, g.Learners = v.Document.Desired(group)
	if at := slices.Index(g.Voters, a.opts.Self); group == MetaGroup && at > 0 {
		g.Voters[0], g.Voters[at] = g.Voters[at], g.Voters[0] // whoever leads the meta group may go on
	}
	servers, index := r.Configuration()
	g.Index = index
	for _, s := range servers {
		g.Members[NodeID(s.ID)] = s.Suffrage == raft.Voter
	}
	return g
}

// rests says whether a group's leadership is not to be handed on at the moment.
func (a *Agent) rests(group uint32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.opts.Clock().Before(a.mu.rests[group])
}

func (a *Agent) rest(group uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.rests[group] = a.opts.Clock().Add(a.opts.Rest)
}

// lookAfter takes steps for a group until none is left for now.
func (a *Agent) lookAfter(group uint32, r Replica) {
	for a.ctx.Err() == nil && r.CanRead() {
		v := a.report(a.opts.Meta.View(), group, r)
		if v == nil {
			return
		}
		g := a.groupView(v, group, r)
		g.Ready = a.ready(v, group, r, &g)
		action := g.Next()
		if action.Kind == ActNone || action.Kind == ActTransfer && a.rests(group) {
			return
		}
		if action.Kind == ActTransfer {
			a.rest(group)
		}
		a.opts.Logger.Info("cluster: membership", "group", group, "change", action.Kind.String(), "node", action.Node)
		if err := act(r, action, placeAddress(v, action.Node, r), g.Index); err != nil {
			a.tell("membership", err)
			return
		}
		if action.Kind == ActTransfer {
			return
		}
	}
}

// act changes the group.
func act(r Replica, action Action, address raft.ServerAddress, index uint64) error {
	id := raft.ServerID(action.Node)
	switch action.Kind {
	case ActAddLearner:
		return r.AddNonvoter(id, address, index)
	case ActPromote:
		return r.AddVoter(id, address, index)
	case ActDemote:
		return r.DemoteVoter(id, index)
	case ActRemove:
		return r.RemoveServer(id, index)
	case ActTransfer:
		return r.TransferLeadership(id, address)
	}
	return nil
}

// placeAddress is the address that a node's place in a group's configuration has. A node that has come to the address of one
// that is gone but has its place still gets one that nobody else has.
func placeAddress(v *View, id NodeID, r Replica) raft.ServerAddress {
	at := raft.ServerAddress(v.Address(id))
	servers, _ := r.Configuration()
	for _, s := range servers {
		if NodeID(s.ID) == id {
			return s.Address
		}
		if s.Address == at {
			at = raftfsm.PlaceAddress(at, raft.ServerID(id))
		}
	}
	return at
}

// address is where a node is, as the document or else the group's configuration says.
func (a *Agent) address(v *View, id NodeID, r Replica) string {
	if at := v.Address(id); at != "" {
		return at
	}
	servers, _ := r.Configuration()
	for _, s := range servers {
		if NodeID(s.ID) == id {
			return raftfsm.DialAddress(s.Address)
		}
	}
	return ""
}

// ready asks the replicas of a group how far they are.
func (a *Agent) ready(v *View, group uint32, r Replica, g *GroupView) map[NodeID]bool {
	here := r.Stats()
	ready := map[NodeID]bool{a.opts.Self: true}
	var mu sync.Mutex
	var calls sync.WaitGroup
	for id := range g.Members {
		at := a.address(v, id, r)
		if id == a.opts.Self || at == "" {
			continue
		}
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(a.ctx, a.opts.Call)
			defer cancel()
			s, err := a.opts.Client.Status(ctx, at)
			if err != nil || s.Node != id {
				return
			}
			replica := find(s.Replicas, func(r *ReplicaStatus) bool { return r.Group == group })
			// The index of what has been applied counts commands alone; that of what was committed is 0 until a leader told it.
			// With the vote of one that doubts itself, a group could be left without a majority that counts.
			if replica != nil && !replica.Doubtful && replica.Committed > 0 && replica.Committed+a.opts.Slack >= here.Committed &&
				replica.Applied+a.opts.Slack >= here.Applied {
				mu.Lock()
				defer mu.Unlock()
				ready[id] = true
			}
		})
	}
	calls.Wait()
	return ready
}

// report notes in the document who leads a shard and which moves have come to their end. It returns the document that
// holds then, or nil if it is not at hand.
func (a *Agent) report(v *View, group uint32, r Replica) *View {
	ctx, cancel := context.WithTimeout(a.ctx, 5*a.opts.Call)
	defer cancel()
	if group == MetaGroup {
		v, err := a.opts.Meta.Latest(ctx)
		a.tell("read the document", err)
		return v
	}
	var s *Shard
	if v != nil {
		s = v.Shard(group)
	}
	if s == nil {
		return nil
	}
	var err error
	if term := r.Stats().Term; s.Term < term && r.CanRead() {
		if v, err = a.opts.Meta.Do(ctx, SetLeader{group, a.opts.Self, term}); err != nil {
			a.tell("note the leader", err)
			return nil
		}
	}
	if g := a.groupView(v, group, r); !g.Settled() {
		return v
	}
	for _, m := range v.Document.Moves {
		if m.Shard != group {
			continue
		}
		if v, err = a.opts.Meta.Do(ctx, EndMove{m.ID, m.To}); err != nil {
			a.tell("end a move", err)
			return nil
		}
	}
	return v
}
