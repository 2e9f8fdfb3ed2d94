package cluster

import (
	"slices"

	"github.com/larder-db/larder/engine/keyspace"
)

// A migration's steps. The order is what makes it safe: the source stops serving the slots and sends what is left; then
// OwnMigration decides, and from there on there is no way back; then the target takes the slots, FlipMigration changes
// the map, and once the source has dropped its copy EndMigration forgets the record. Each step names the attempt, so that
// a leader of the source who was deposed cannot take it.

// MigrateSlots begins to take slots from one shard to another.
type MigrateSlots struct {
	From  uint32  `json:"from"`
	To    uint32  `json:"to"`
	Slots []Range `json:"slots"`
	Now   int64   `json:"now,omitempty"` // Unix milliseconds
}

// Apply implements Op.
func (o MigrateSlots) Apply(d Document) (Document, error) {
	from, to := d.Shard(o.From), d.Shard(o.To)
	switch {
	case from == nil:
		return d, refuse("there is no shard %d", o.From)
	case to == nil:
		return d, refuse("there is no shard %d", o.To)
	case from == to:
		return d, refuse("shard %d has the slots already", o.To)
	case !from.Born:
		return d, refuse("shard %d has not been founded yet", o.From)
	case !to.Born:
		return d, refuse("shard %d has not been founded yet", o.To)
	case len(o.Slots) == 0:
		return d, refuse("no slots are named")
	case len(o.Slots) > Slots:
		return d, refuse("%d ranges of slots, more than there are slots", len(o.Slots))
	case len(d.Migrations) == MaxMigrations:
		return d, refuse("%d migrations are under way already", MaxMigrations)
	}
	for _, r := range o.Slots {
		if r.From > r.To || r.To >= Slots {
			return d, refuse("there are no slots %d to %d", r.From, r.To)
		}
	}
	slots := union(o.Slots, nil)
	for _, m := range d.Migrations {
		if m.ID+keyspace.RememberedMigrations/2 <= d.NextID {
			return d, refuse("migration %d began long ago: resume it, or take it back, before others begin", m.ID)
		}
		if overlap(m.Slots, slots) {
			return d, refuse("migration %d of some of these slots is under way", m.ID)
		}
	}
	if foreign := without(slots, from.Slots); len(foreign) > 0 {
		return d, refuse("shard %d does not own the slots %d to %d", o.From, foreign[0].From, foreign[0].To)
	}
	d = d.Clone()
	d.Migrations = append(d.Migrations, Migration{ID: d.NextID, From: o.From, To: o.To, Slots: slots, State: MigrationCopying, Begun: o.Now})
	d.NextID++
	return d, nil
}

// PauseMigration has a migration rest while it copies.
type PauseMigration struct {
	Migration uint64 `json:"migration"`
}

// Apply implements Op.
func (o PauseMigration) Apply(d Document) (Document, error) {
	return d.changeMigration(o.Migration, func(m *Migration) error {
		if m.State != MigrationCopying {
			return refuse("migration %d is %s: it cannot be paused any more", m.ID, m.State)
		}
		m.Paused = true
		return nil
	})
}

// ResumeMigration has a paused migration go on.
type ResumeMigration struct {
	Migration uint64 `json:"migration"`
}

// Apply implements Op.
func (o ResumeMigration) Apply(d Document) (Document, error) {
	return d.changeMigration(o.Migration, func(m *Migration) error {
		m.Paused = false
		return nil
	})
}

// CancelMigration takes a migration back, while it copies: the source keeps the slots.
type CancelMigration struct {
	Migration uint64 `json:"migration"`
}

// Apply implements Op.
func (o CancelMigration) Apply(d Document) (Document, error) {
	return d.changeMigration(o.Migration, func(m *Migration) error {
		if m.State != MigrationCopying && m.State != MigrationCanceled {
			return refuse("migration %d is %s: it cannot be canceled any more", m.ID, m.State)
		}
		m.State, m.Paused = MigrationCanceled, false
		return nil
	})
}

// AttemptMigration begins a new attempt, the one after Attempt: a leader of the source does so before its first step.
type AttemptMigration struct {
	Migration uint64 `json:"migration"`
	Attempt   uint64 `json:"attempt"` // the last one
}

// Apply implements Op.
func (o AttemptMigration) Apply(d Document) (Document, error) {
	return d.changeMigration(o.Migration, func(m *Migration) error {
		if err := m.isAttempt(o.Attempt); err != nil {
			return err
		}
		m.Attempt++
		return nil
	})
}

// OwnMigration decides that the target takes the slots: it has everything, and the source has stopped serving them.
type OwnMigration struct {
	Migration uint64 `json:"migration"`
	Attempt   uint64 `json:"attempt"`
}

// Apply implements Op.
func (o OwnMigration) Apply(d Document) (Document, error) {
	return d.changeMigration(o.Migration, func(m *Migration) error {
		if err := m.isAttempt(o.Attempt); err != nil {
			return err
		}
		switch {
		case m.State == MigrationOwned:
		case m.State != MigrationCopying:
			return refuse("migration %d is %s", m.ID, m.State)
		case m.Paused:
			return refuse("migration %d is paused", m.ID)
		}
		m.State = MigrationOwned
		return nil
	})
}

// FlipMigration changes the slot map: the target owns the slots.
type FlipMigration struct {
	Migration uint64 `json:"migration"`
	Attempt   uint64 `json:"attempt"`
}

// Apply implements Op.
func (o FlipMigration) Apply(d Document) (Document, error) {
	return d.changeMigration(o.Migration, func(m *Migration) error {
		if err := m.isAttempt(o.Attempt); err != nil {
			return err
		}
		switch m.State {
		case MigrationFlipped:
			return nil
		case MigrationOwned:
		default:
			return refuse("migration %d is %s", m.ID, m.State)
		}
		m.State = MigrationFlipped
		return nil
	})
}

// EndMigration forgets a migration whose last copy has been dropped.
type EndMigration struct {
	Migration uint64 `json:"migration"`
}

// Apply implements Op.
func (o EndMigration) Apply(d Document) (Document, error) {
	m := d.Migration(o.Migration)
	switch {
	case m == nil:
		return d, nil
	case m.State != MigrationFlipped && m.State != MigrationCanceled:
		return d, refuse("migration %d is %s: it has not ended", m.ID, m.State)
	}
	d = d.Clone()
	d.Migrations = slices.DeleteFunc(d.Migrations, func(m Migration) bool { return m.ID == o.Migration })
	if len(d.Migrations) == 0 {
		d.Migrations = nil
	}
	return d, nil
}

// changeMigration has one migration changed, and the map with it when the change is the flip.
func (d Document) changeMigration(id uint64, change func(*Migration) error) (Document, error) {
	if d.Migration(id) == nil {
		return d, refuse("there is no migration %d under way", id)
	}
	next := d.Clone()
	m := next.Migration(id)
	if err := change(m); err != nil {
		return d, err
	}
	if m.State == MigrationFlipped && d.Migration(id).State != MigrationFlipped {
		next.flip(m)
	}
	return next, nil
}

// flip has the map say that a migration's target owns the slots.
func (d *Document) flip(m *Migration) {
	from, to := d.Shard(m.From), d.Shard(m.To)
	from.Slots = append([]Range{}, without(from.Slots, m.Slots)...)
	to.Slots = union(to.Slots, m.Slots)
	m.State = MigrationFlipped
}

func (m *Migration) isAttempt(attempt uint64) error {
	if m.Attempt != attempt {
		return refuse("migration %d: attempt %d is not the current one, which is %d", m.ID, attempt, m.Attempt)
	}
	return nil
}
