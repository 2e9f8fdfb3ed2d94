package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/raftfsm"
)

// Why a change of the document did not come about, besides ErrRefused. After raftfsm.ErrIndeterminate it may have.
var (
	// ErrNoLeader says that the meta group has no leader that could be reached in time.
	ErrNoLeader = errors.New("the meta group has no leader at the moment")
	// ErrNoDocument says that this node has not learned the document yet.
	ErrNoDocument = errors.New("the cluster's document has not arrived here yet")
)

// MetaPort is what Meta needs of the meta group's replica here; raftfsm.Group has it.
type MetaPort interface {
	Propose(*raftfsm.Proposal)
	CanRead() bool
	Leader() (raft.ServerAddress, raft.ServerID)
}

// DocumentStore is what Meta needs of the meta group's engine; engine.Engine has it.
type DocumentStore interface {
	AppliedIndex() uint64
	Clock() int64
	Detached(row *command.Command, db int, args [][]byte, now int64, seed uint64, w reply.Writer) (due bool, err error)
}

// MetaOptions are what Meta is opened with.
type MetaOptions struct {
	Self   NodeID
	Group  MetaPort
	Engine DocumentStore
	// Client calls other nodes.
	Client *Client
	// Loop stands for Meta in the origin of entries: no event loop of the node has the number.
	Loop uint32
	// Poll is how often the applied index is looked at: a change is known here that much later at most, unless Poke is
	// called.
	Poll   time.Duration
	Logger *slog.Logger
}

// EnsureDefaults fills in what was left out.
func (o *MetaOptions) EnsureDefaults() {
	if o.Poll == 0 {
		o.Poll = 20 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate reports every fault at once.
func (o *MetaOptions) Validate() error {
	var f faults
	f.check(isHexID(string(o.Self)), "cluster options: Self is no node's ID")
	f.check(o.Group != nil, "cluster options: no Group")
	f.check(o.Engine != nil, "cluster options: no Engine")
	f.check(o.Client != nil, "cluster options: no Client")
	f.check(o.Poll > 0, "cluster options: Poll is not positive")
	return errors.Join(f...)
}

// Meta is the document as this node knows it, and the way to change it. Its methods may be called by any goroutine.
type Meta struct {
	opts   MetaOptions
	view   atomic.Pointer[View]
	turn   chan struct{} // held by the one change that is under way here
	wake   chan struct{}
	stop   chan struct{}
	closed sync.Once
	poll   sync.WaitGroup

	mu struct {
		sync.Mutex
		applied uint64 // what has been looked at
		changed chan struct{}
	}
}

// OpenMeta reads what this node knows and begins to follow it.
func OpenMeta(o MetaOptions) (*Meta, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m := &Meta{opts: o, turn: make(chan struct{}, 1), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	m.mu.changed = make(chan struct{})
	if err := m.refresh(); err != nil {
		return nil, err
	}
	m.poll.Go(m.follow)
	return m, nil
}

// Close stops following. The group and the engine stay open.
func (m *Meta) Close() {
	m.closed.Do(func() { close(m.stop) })
	m.poll.Wait()
}

// Poke says that the meta group has applied an entry, or is about to end with one. It does not wait.
func (m *Meta) Poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *Meta) follow() {
	tick := time.NewTicker(m.opts.Poll)
	defer tick.Stop()
	broken := uint64(0)
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
		case <-m.wake:
			m.forget()
		}
		applied := m.opts.Engine.AppliedIndex()
		if err := m.refresh(); err != nil && applied != broken {
			broken = applied
			m.opts.Logger.Error("the cluster's document cannot be read; the last one goes on", "error", err)
		}
	}
}

// forget has the next refresh read the document in any case: the entry that changed it may not count as applied yet.
func (m *Meta) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.applied = 0
}

// refresh reads the document if entries have been applied since it was last read.
func (m *Meta) refresh() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	applied := m.opts.Engine.AppliedIndex()
	if applied == m.mu.applied {
		return nil
	}
	stored, found, err := readStored(m.opts.Engine)
	if err != nil {
		return err
	}
	if found {
		if err := m.take(stored); err != nil {
			return err
		}
	}
	m.mu.applied = applied
	return nil
}

// readStored reads the document as it is stored, its version in front.
func readStored(e DocumentStore) (stored []byte, found bool, err error) {
	var text bulk
	row := command.Lookup([]byte("GET"))
	args := [][]byte{[]byte(row.Name), []byte(command.MetaKey)}
	if _, err := e.Detached(row, 0, args, e.Clock(), 0, &text); err != nil {
		return nil, false, fmt.Errorf("read the cluster's document: %w", err)
	}
	return text.bytes, text.found, nil
}

// Read reads the document of an engine that no group uses.
func Read(e DocumentStore) (Document, error) {
	stored, found, err := readStored(e)
	if err != nil {
		return Document{}, err
	}
	if !found {
		return Document{}, ErrNoDocument
	}
	_, b, ok := command.SplitMeta(stored)
	if !ok {
		return Document{}, fmt.Errorf("%w: it has no version", ErrDocument)
	}
	return Decode(b)
}

// take makes a stored document the current one, if it is newer.
func (m *Meta) take(stored []byte) error {
	version, b, ok := command.SplitMeta(stored)
	if !ok {
		return fmt.Errorf("%w: it has no version", ErrDocument)
	}
	if old := m.view.Load(); old != nil && version <= old.Document.Version {
		return nil
	}
	d, err := Decode(b)
	if err != nil {
		return err
	}
	if d.Version != version {
		return fmt.Errorf("%w: version %d is stored as version %d", ErrDocument, d.Version, version)
	}
	m.view.Store(NewView(&d))
	close(m.mu.changed)
	m.mu.changed = make(chan struct{})
	return nil
}

// bulk keeps the string that GET answers.
type bulk struct {
	reply.Writer
	bytes []byte
	found bool
}

func (b *bulk) Bulk(text []byte) { b.bytes, b.found = append([]byte(nil), text...), true }
func (b *bulk) Null()            {}

// View is the document as this node knows it; nil: it has not learned of one. It may be behind what the cluster has
// decided.
func (m *Meta) View() *View { return m.view.Load() }

// Changed is closed once there is a newer view than at the time of the call.
func (m *Meta) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.changed
}

// Wait waits until the view is as wanted, and returns it.
func (m *Meta) Wait(ctx context.Context, wanted func(*View) bool) (*View, error) {
	for {
		changed := m.Changed()
		if v := m.View(); v != nil && wanted(v) {
			return v, nil
		}
		select {
		case <-changed:
		case <-m.stop:
			return nil, raftfsm.ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the cluster's document: %w", context.Cause(ctx))
		}
	}
}

// Leads says whether this node leads the meta group and knows all that earlier leaders decided.
func (m *Meta) Leads() bool { return m.opts.Group.CanRead() }

// Found stores the first document. It is for the founder, whose group nobody else is in.
func (m *Meta) Found(ctx context.Context, d Document) error {
	d.Version = 1
	if err := d.Validate(); err != nil {
		return err
	}
	done, err := m.store(ctx, 0, &d)
	if err == nil && !done {
		err = refuse("the cluster has been founded already")
	}
	return err
}

// Update changes the document; this node has to lead the meta group. change is a pure function and may be called
// several times. It returns the document that holds then, whether it had to be changed for that or not.
func (m *Meta) Update(ctx context.Context, change func(Document) (Document, error)) (*Document, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for {
		if !m.Leads() {
			return nil, raftfsm.ErrNotLeader
		}
		if err := m.refresh(); err != nil {
			return nil, err
		}
		now := m.View()
		if now == nil {
			return nil, ErrNoDocument
		}
		next, changed, err := step(*now.Document, change)
		if err != nil || !changed {
			return now.Document, err
		}
		done, err := m.store(ctx, now.Document.Version, &next)
		if err != nil {
			return nil, err
		}
		if done {
			return &next, m.refresh()
		}
	}
}

// store proposes a document in the place of the one that has the version, and waits. done: it is stored; if not,
// somebody else was faster.
func (m *Meta) store(ctx context.Context, version uint64, d *Document) (done bool, err error) {
	text, err := d.Encode()
	if err != nil {
		return false, err
	}
	return m.propose(ctx, version, text)
}

func (m *Meta) propose(ctx context.Context, version uint64, text []byte) (done bool, err error) {
	var stored storeReply
	batch := &engine.Batch{Replies: &stored}
	args := command.MetaArgs(version, text)
	batch.AddWrite(command.Lookup(args[0]), 0, args)
	answered := make(chan error, 1)
	m.opts.Group.Propose(&raftfsm.Proposal{
		Batch: batch,
		Loop:  m.opts.Loop,
		Done:  func(_ *raftfsm.Proposal, err error) { answered <- err },
	})
	select {
	case err := <-answered:
		if err == nil && stored.ok {
			m.spread()
		}
		return err == nil && stored.ok, err
	case <-ctx.Done():
		return false, fmt.Errorf("%w: %w", raftfsm.ErrIndeterminate, context.Cause(ctx))
	}
}

// barrier returns once everything that had been decided has been applied here, as the leader of the meta group: what it
// has the log say changes nothing, since no document ever has that version.
func (m *Meta) barrier(ctx context.Context) error {
	const never = 1 << 63
	if !m.Leads() {
		return raftfsm.ErrNotLeader
	}
	_, err := m.propose(ctx, never, nil)
	return err
}

// spread has the other nodes learn of what was committed: an entry that holds nothing goes behind it at once and says so.
// Else they would hear of it with the next heartbeat, and whoever waits for the map to change with them.
func (m *Meta) spread() {
	m.opts.Group.Propose(&raftfsm.Proposal{Batch: &engine.Batch{}, Loop: m.opts.Loop, Done: func(*raftfsm.Proposal, error) {}})
}

// storeReply keeps what LARDER.META answers.
type storeReply struct{ ok bool }

func (s *storeReply) Begin(int) reply.Writer { return okWriter{reply.Discard, s} }
func (s *storeReply) End(int)                {}

type okWriter struct {
	reply.Writer
	to *storeReply
}

func (w okWriter) Simple(string) { w.to.ok = true }

// leaderPause is how long Do waits before it looks for the leader again.
const leaderPause = 50 * time.Millisecond

// Do has an Op applied, by this node or by the one that leads the meta group, and waits until the document here shows
// it. It looks for a leader until ctx ends.
func (m *Meta) Do(ctx context.Context, o Op) (*View, error) {
	v, _, err := m.Begin(ctx, o)
	return v, err
}

// Begin is Do for an Op that begins a move or a migration: id is its number. The view may show that it has ended already.
func (m *Meta) Begin(ctx context.Context, o Op) (v *View, id uint64, err error) {
	for {
		done, err := m.attempt(ctx, o)
		if err == nil {
			v, err = m.Wait(ctx, func(v *View) bool { return v.Document.Version >= done.Version })
			return v, done.LastID, err
		}
		if !errors.Is(err, raftfsm.ErrNotLeader) && !errors.Is(err, raftfsm.ErrBusy) && !errors.Is(err, ErrNoLeader) {
			return nil, 0, err
		}
		select {
		case <-time.After(leaderPause):
		case <-m.stop:
			return nil, 0, raftfsm.ErrClosed
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("%w: %w", ErrNoLeader, err)
		}
	}
}

// Latest is the document with all that had been decided when it was called. What View tells may be old, at a start by
// very much: nothing may be given up, and no group founded, for what it says.
func (m *Meta) Latest(ctx context.Context) (*View, error) { return m.Do(ctx, Look{}) }

// attempt has an Op applied by who leads now.
func (m *Meta) attempt(ctx context.Context, o Op) (done opDone, err error) {
	if m.Leads() {
		return m.Apply(ctx, o)
	}
	address, id := m.opts.Group.Leader()
	if id == "" || NodeID(id) == m.opts.Self {
		return done, ErrNoLeader
	}
	at := string(address)
	if v := m.View(); v != nil && v.Address(NodeID(id)) != "" {
		at = v.Address(NodeID(id))
	}
	done, err = m.opts.Client.do(ctx, at, o)
	if _, unsent := errors.AsType[unreachable](err); unsent {
		err = fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	return done, err
}

// Apply has an Op applied by this node, which has to lead the meta group.
func (m *Meta) Apply(ctx context.Context, o Op) (done opDone, err error) {
	switch j := o.(type) {
	case *Join:
		o = m.supersede(ctx, *j)
	case Join:
		o = m.supersede(ctx, j)
	case *Look, Look:
		if err := m.barrier(ctx); err != nil {
			return opDone{}, err
		}
	}
	d, err := m.Update(ctx, o.Apply)
	if err != nil {
		return done, err
	}
	return opDone{d.Version, d.NextID - 1}, nil
}

// supersede finds the members whose peer address leads to the node that wants to join: it proves to be there, so they
// are not. If it is a new one, they never will be again.
func (m *Meta) supersede(ctx context.Context, j Join) Join {
	j.Superseded = nil
	v := m.View()
	if v == nil || v.Node(j.Node.ID) != nil {
		return j
	}
	for _, n := range v.Document.Nodes {
		if n.ID == j.Node.ID || n.State == NodeGone || n.Peer != j.Node.Peer {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		p, err := m.opts.Client.Ping(ctx, n.Peer)
		cancel()
		if err == nil && p.Node == j.Node.ID {
			j.Superseded = append(j.Superseded, n.ID)
		}
	}
	return j
}
