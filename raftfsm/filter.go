package raftfsm

import (
	"sync"
	"sync/atomic"

	"github.com/larder-db/larder/engine"
)

// filter says whether an entry in flight may change a key. It is a counting filter over what the batches in flight may
// touch: a batch is in it from before it goes to Raft until after it is applied, or will not be.
//
// Only transactions with watched keys ask. While nobody watches, a batch costs one count: it is taken for one that may
// touch everything, and so are those that are still in flight when the first WATCH comes.
type filter struct {
	on atomic.Bool

	mu struct {
		sync.Mutex
		cells []uint32 // how often each cell is touched; made at the first use
		blind int      // batches that may touch everything
	}
}

// of is a batch's footprint, as far as anybody wants to know.
func (f *filter) of(b *engine.Batch) engine.Footprint {
	if !f.on.Load() {
		return engine.Footprint{All: true}
	}
	return b.Footprint()
}

func (f *filter) add(p engine.Footprint) { f.count(p, 1) }

func (f *filter) remove(p engine.Footprint) { f.count(p, -1) }

func (f *filter) count(p engine.Footprint, n int) {
	if !p.All && len(p.Cells) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.All {
		f.mu.blind += n
		return
	}
	if f.mu.cells == nil {
		f.mu.cells = make([]uint32, engine.FootprintCells)
	}
	for _, c := range p.Cells {
		f.mu.cells[c] += uint32(n)
	}
}

// touches says whether something in flight may touch one of the cells.
func (f *filter) touches(cells []uint16) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.blind > 0 {
		return true
	}
	if f.mu.cells == nil {
		return false
	}
	for _, c := range cells {
		if f.mu.cells[c] > 0 {
			return true
		}
	}
	return false
}

// SetWatched says whether ProposeAdmitted may be called from now on. While it is set, each batch's keys are noted.
func (g *Group) SetWatched(on bool) { g.filter.on.Store(on) }

// Admission is what ProposeAdmitted lets its caller see: what is in flight does not become more while it lasts.
type Admission struct {
	filter *filter
	own    engine.Footprint
	cells  map[uint16]bool // own's

	// Term is the term of this node's leadership; 0 if it does not lead, or may not know yet all that earlier leaders
	// have committed.
	Term uint64
}

// Free says that no entry in flight, and nothing that was admitted before, can touch one of the cells. What had touched
// them before is applied.
func (a *Admission) Free(cells []uint16) bool {
	if a.own.All || a.filter.touches(cells) {
		return false
	}
	for _, c := range cells {
		if a.cells[c] {
			return false
		}
	}
	return true
}

// Admit notes what a command that is added to the batch may touch.
func (a *Admission) Admit(p engine.Footprint) {
	if a.own.All = a.own.All || p.All; a.own.All {
		a.own.Cells = nil
		return
	}
	a.own.Cells = append(a.own.Cells, p.Cells...)
	if a.cells == nil {
		a.cells = map[uint16]bool{}
	}
	for _, c := range p.Cells {
		a.cells[c] = true
	}
}

// ProposeAdmitted is Propose for a batch of commands that depend on certain keys being as they are. While nobody else can
// propose anything, fill puts into the batch what may go, and says with false that there is nothing. It must not wait,
// nor call the group. Such a batch can not be recalled.
func (g *Group) ProposeAdmitted(p *Proposal, fill func(a *Admission) bool) bool {
	g.order.Lock()
	defer g.order.Unlock()
	a := Admission{filter: &g.filter, Term: g.LeaderTerm()}
	if !fill(&a) {
		return false
	}
	g.propose(p, a.own)
	return true
}

// LeaderTerm is the term for which CanRead is true, or 0.
func (g *Group) LeaderTerm() uint64 {
	if term := g.provenTerm.Load(); g.CanRead() && term == g.provenTerm.Load() {
		return term
	}
	return 0
}

// landed is called when a batch is applied, or will not be.
func (g *Group) landed(p engine.Footprint) {
	g.filter.remove(p)
	if g.filter.on.Load() {
		g.opts.OnLanded()
	}
}
