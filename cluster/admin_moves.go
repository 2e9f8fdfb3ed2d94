package cluster

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// StartMove asks for a move; nodes are named by ID, the beginning of one, or an address.
type StartMove struct {
	Shard uint32 `json:"shard"`
	From  string `json:"from"`
	To    string `json:"to"`
}

// StartMigration asks for a migration.
type StartMigration struct {
	From  uint32  `json:"from" doc:"Shard"`
	To    uint32  `json:"to" doc:"Shard"`
	Slots []Range `json:"slots" maxItems:"16384"`
}

type movePath struct {
	Move uint64 `path:"move"`
}

type migrationPath struct {
	Migration uint64 `path:"migration"`
}

func (a admin) registerMoves() {
	register(a, http.MethodGet, "/v1/moves", "list-moves", "The moves of replicas that are under way",
		func(ctx context.Context, _ *nothing) (*body[[]MoveReport], error) {
			r, err := a.survey(ctx)
			if err != nil {
				return nil, err
			}
			return &body[[]MoveReport]{r.Moves}, nil
		})
	register(a, http.MethodGet, "/v1/moves/{move}", "watch-move", "How far a move has come; not found: it has ended",
		func(ctx context.Context, in *movePath) (*body[MoveReport], error) {
			r, err := a.survey(ctx)
			if err != nil {
				return nil, err
			}
			m := find(r.Moves, func(m *MoveReport) bool { return m.ID == in.Move })
			if m == nil {
				return nil, huma.NewError(http.StatusNotFound, "no such move is under way")
			}
			return &body[MoveReport]{*m}, nil
		})
	register(a, http.MethodPost, "/v1/moves", "start-move", "Move a shard's replica from node to node", a.startMove)
	about := func(op func(uint64) Op) func(context.Context, *movePath) (*body[Accepted], error) {
		return func(ctx context.Context, in *movePath) (*body[Accepted], error) { return a.change(ctx, op(in.Move)) }
	}
	register(a, http.MethodPost, "/v1/moves/{move}/pause", "pause-move", "Have a move rest", about(func(id uint64) Op { return &PauseMove{id} }))
	register(a, http.MethodPost, "/v1/moves/{move}/resume", "resume-move", "Have a move go on", about(func(id uint64) Op { return &ResumeMove{id} }))
	register(a, http.MethodDelete, "/v1/moves/{move}", "cancel-move", "Take a move back", about(func(id uint64) Op { return &CancelMove{id} }))
}

func (a admin) startMove(ctx context.Context, in *body[StartMove]) (*body[Accepted], error) {
	from, err := a.node(in.Body.From)
	if err != nil {
		return nil, err
	}
	to, err := a.node(in.Body.To)
	if err != nil {
		return nil, err
	}
	return a.begin(ctx, &MoveReplica{Shard: in.Body.Shard, From: from, To: to, Now: a.Clock().UnixMilli()})
}

func (a admin) registerMigrations() {
	register(a, http.MethodGet, "/v1/migrations", "list-migrations", "The migrations of slots that are under way",
		func(ctx context.Context, _ *nothing) (*body[[]MigrationReport], error) {
			r, err := a.survey(ctx)
			if err != nil {
				return nil, err
			}
			return &body[[]MigrationReport]{r.Migrations}, nil
		})
	register(a, http.MethodGet, "/v1/migrations/{migration}", "watch-migration", "How far a migration has come; not found: it has ended",
		func(ctx context.Context, in *migrationPath) (*body[MigrationReport], error) {
			r, err := a.survey(ctx)
			if err != nil {
				return nil, err
			}
			m := find(r.Migrations, func(m *MigrationReport) bool { return m.ID == in.Migration })
			if m == nil {
				return nil, huma.NewError(http.StatusNotFound, "no such migration is under way")
			}
			return &body[MigrationReport]{*m}, nil
		})
	register(a, http.MethodPost, "/v1/migrations", "start-migration", "Take slots from one shard to another", a.startMigration)
	about := func(op func(uint64) Op) func(context.Context, *migrationPath) (*body[Accepted], error) {
		return func(ctx context.Context, in *migrationPath) (*body[Accepted], error) {
			return a.change(ctx, op(in.Migration))
		}
	}
	register(a, http.MethodPost, "/v1/migrations/{migration}/pause", "pause-migration", "Have a migration rest",
		about(func(id uint64) Op { return &PauseMigration{id} }))
	register(a, http.MethodPost, "/v1/migrations/{migration}/resume", "resume-migration", "Have a migration go on",
		about(func(id uint64) Op { return &ResumeMigration{id} }))
	register(a, http.MethodDelete, "/v1/migrations/{migration}", "cancel-migration", "Take a migration back",
		about(func(id uint64) Op { return &CancelMigration{id} }))
}

func (a admin) startMigration(ctx context.Context, in *body[StartMigration]) (*body[Accepted], error) {
	return a.begin(ctx, &MigrateSlots{From: in.Body.From, To: in.Body.To, Slots: in.Body.Slots, Now: a.Clock().UnixMilli()})
}
