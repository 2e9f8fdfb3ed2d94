package main

import (
	"fmt"
	"strconv"
	"time"
)

// overflowValue is the size of values where data must not fit into memory.
const overflowValue = 1024

// overflow holds much more data than maxmemory, reads all of it, and then at random.
func (b *bench) overflow() error {
	maxmemory := b.sizes.overflowMax
	n := int(b.sizes.overflowBytes / overflowValue)
	s, err := b.startLarder("--appendfsync", "everysec", "--maxmemory", strconv.FormatInt(maxmemory, 10))
	defer s.end()
	if err != nil {
		return err
	}
	highest := watchResident(s)
	began := time.Now()
	if err := b.fill(s, n, keyOf, overflowValue); err != nil {
		return err
	}
	filled := time.Since(began)
	whileWriting := highest()

	highest = watchResident(s)
	began = time.Now()
	if err := b.readAll(s, n, keyOf, overflowValue); err != nil {
		return err
	}
	read := time.Since(began)
	whileReading := highest()

	const mb = 1 << 20
	work := fmt.Sprintf("maxmemory %d MB, %d MB of data", maxmemory/mb, b.sizes.overflowBytes/mb)
	bound := 1.25*float64(maxmemory)/mb + 100
	if maxmemory == fullSizes.overflowMax {
		bound = 435
	}
	b.report.figure(work+", highest resident size while all is read", "MB", float64(whileReading)/mb, 0, bound)
	b.report.figure(work+", highest resident size while it is written", "MB", float64(whileWriting)/mb, 0, bound)
	b.report.note("%s: written in %v, every key read in %v.", work, filled.Round(time.Second), read.Round(time.Second))
	return b.coldReads(s, work, n)
}

// coldReads are uniform random GETs, with what the server used meanwhile.
func (b *bench) coldReads(s *server, work string, n int) error {
	if err := b.rest(s); err != nil {
		return err
	}
	used, err := s.processorTime()
	if err != nil {
		return err
	}
	disk, err := s.diskRead()
	if err != nil {
		return err
	}
	began := time.Now()
	one, err := b.runRedisBenchmark(s, load{test: "get", pipeline: 1}, int(b.sizes.seconds.Seconds()*25_000), n)
	if err != nil {
		return err
	}
	took := time.Since(began)
	usedAfter, err := s.processorTime()
	if err != nil {
		return err
	}
	diskAfter, err := s.diskRead()
	if err != nil {
		return err
	}
	b.report.figure(work+", uniform random GETs, pipeline 1", "/s", one.rate, 0, 0)
	b.report.note("Random GETs: p50 %.2f ms, p99 %.2f ms; the server used %.2f cores and read %.0f MB/s from the disk.",
		one.p50, one.p99, (usedAfter-used).Seconds()/took.Seconds(), float64(diskAfter-disk)/(1<<20)/took.Seconds())
	return nil
}

// watchResident samples the resident size until the returned function is called, which returns the highest.
func watchResident(s *server) func() int64 {
	stop, result := make(chan struct{}), make(chan int64)
	go func() {
		var highest int64
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			if now, err := s.resident(); err == nil {
				highest = max(highest, now)
			}
			select {
			case <-stop:
				result <- highest
				return
			case <-ticker.C:
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-result
	}
}
