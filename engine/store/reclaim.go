package store

import "context"

// Reclaim rewrites what deletions have left behind, so that the space of records that are gone comes back. It takes as
// long as reading and writing the whole store, shares the turn with the other compactions, and ends early with ctx.
func (s *Store) Reclaim(ctx context.Context) error {
	if err := s.usable(); err != nil {
		return err
	}
	err := s.await("compact", func() error { return s.db.Compact(ctx, []byte{0}, []byte{0xff}, false) })
	return s.explain("compact", err)
}
