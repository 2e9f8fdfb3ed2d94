package store

// Metrics are for operators; reading them takes a lock of Pebble's for some microseconds.
type Metrics struct {
	DiskBytes      int64 // tables, MANIFEST and all
	Tables         int
	Sublevels      int   // of level 0: what a lookup has to ask one after the other
	CompactionDebt int64 // bytes that compactions have still to rewrite
	Compactions    int64 // done since Open
	Compacting     bool
	CacheBytes     int64 // of the block cache, which other stores may share
	TableCache     int   // tables held open
	FilterHits     int64 // reads that a bloom filter saved
	FilterMisses   int64
}

// Metrics reports the store's figures.
func (s *Store) Metrics() Metrics {
	if s.usable() != nil {
		return Metrics{}
	}
	p := s.db.Metrics()
	m := Metrics{
		DiskBytes:      int64(p.DiskSpaceUsage()),
		Sublevels:      int(p.Levels[0].Sublevels),
		CompactionDebt: int64(p.Compact.EstimatedDebt),
		Compactions:    p.Compact.Count,
		Compacting:     p.Compact.NumInProgress > 0,
		CacheBytes:     p.BlockCache.Size,
		TableCache:     int(p.FileCache.TableCount),
		FilterHits:     p.Filter.Hits,
		FilterMisses:   p.Filter.Misses,
	}
	for _, level := range p.Levels {
		m.Tables += int(level.TablesCount)
	}
	return m
}

// Sublevels is the number of sublevels of level 0.
func (s *Store) Sublevels() int { return s.Metrics().Sublevels }

// Busy says that the next checkpoint should wait: compactions are behind (ingestion itself is never held back).
func (s *Store) Busy() bool { return s.Sublevels() >= s.options.MaxSublevels }

// DiskUsage is the size of all files, bytes.
func (s *Store) DiskUsage() int64 { return s.Metrics().DiskBytes }
