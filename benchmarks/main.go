// Command benchmarks runs larder beside a real redis-server on the same machine, in interleaved rounds, and prints
// medians as ratios with the floor that each has to reach:
//
//	go run ./benchmarks [-quick] [-rounds n] [-only name,…] [-json file]
//
// Throughput and its latencies are taken by redis-benchmark, which treats both alike and costs one core at most; the
// paced mix, whose latency counts from the moment a request was due, by a generator of our own (load.go). A round
// measures one server at a time, once all servers have become idle. The parts from replication on run several nodes of
// larder as processes of their own (cluster.go). Everything is on the loopback interface, ends what it started, and is
// bounded in time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// bench is what all measurements share.
type bench struct {
	ctx    context.Context
	dir    string // for data; removed at the end
	larder string // program
	redis  string
	rounds int
	sizes  sizes
	report report
}

// sizes is how much is measured.
type sizes struct {
	keys          int           // of the throughput table
	seconds       time.Duration // of each throughput measurement, about
	manyKeys      int           // of memory per key and restart
	overflowBytes int64
	overflowMax   int64 // maxmemory
	mix           time.Duration
	members       int           // of the collections that are read and combined
	manyMembers   int           // of memory per member
	hugeMembers   int           // of the largest collections
	trickle       time.Duration // of the slow changes of a huge hash
	evictionMax   int64         // maxmemory of Larder
	evictionAsks  int           // times as many GETs as keys held
	kills         int           // of leaders
}

var fullSizes = sizes{keys: 1_000_000, seconds: 4 * time.Second, manyKeys: 3_000_000,
	overflowBytes: 3 << 30, overflowMax: 256 << 20, mix: 10 * time.Second,
	members: 1_000_000, manyMembers: 3_000_000, hugeMembers: 10_000_000, trickle: time.Minute,
	evictionMax: 64 << 20, evictionAsks: 40, kills: 30}

var quickSizes = sizes{keys: 100_000, seconds: time.Second, manyKeys: 300_000,
	overflowBytes: 400 << 20, overflowMax: 64 << 20, mix: 3 * time.Second,
	members: 100_000, manyMembers: 300_000, hugeMembers: 500_000, trickle: 5 * time.Second,
	evictionMax: 24 << 20, evictionAsks: 30, kills: 5}

// measurement is one part of the table.
type measurement struct {
	name string
	run  func(*bench) error
}

var measurements = []measurement{
	{"throughput", (*bench).throughput},
	{"memory", (*bench).memoryAndRestart},
	{"overflow", (*bench).overflow},
	{"smoothness", (*bench).smoothness},
	{"collections", (*bench).collections},
	{"members", (*bench).members},
	{"large", (*bench).large},
	{"eviction", (*bench).eviction},
	{"replication", (*bench).replication},
	{"failover", (*bench).failover},
	{"catchup", (*bench).catchup},
	{"migration", (*bench).migration},
	{"scaling", (*bench).scaling},
	{"idle", (*bench).idle},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

func run() error {
	var names []string
	for _, m := range measurements {
		names = append(names, m.name)
	}
	rounds := flag.Int("rounds", 0, "interleaved rounds of which the median counts; default 5, or 1 with -quick")
	quick := flag.Bool("quick", false, "one round with small sizes: shows that it works, measures little")
	only := flag.String("only", "", "comma-separated parts to run, of "+strings.Join(names, ", "))
	jsonFile := flag.String("json", "", "file that gets the results as JSON")
	folder := flag.String("dir", "", "folder for the data, on the disk to measure; default: the system's for temporary files")
	limit := flag.Duration("limit", 50*time.Minute, "after this long everything is ended")
	program := flag.String("larder", "", "larder's binary; default: built from the sources here")
	flag.Parse()

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, *limit)
	defer cancel()

	b := &bench{ctx: ctx, rounds: 5, sizes: fullSizes, larder: *program}
	if *quick {
		b.rounds, b.sizes = 1, quickSizes
	}
	if *rounds > 0 {
		b.rounds = *rounds
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(*folder, "larder-benchmarks-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.findPrograms(); err != nil {
		return err
	}
	if err := b.describeMachine(); err != nil {
		return err
	}
	for _, m := range chosen {
		fmt.Fprintf(os.Stderr, "== %s\n", m.name)
		if err := m.run(b); err != nil {
			b.report.print(os.Stdout) // what there is
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	b.report.print(os.Stdout)
	if *jsonFile != "" {
		return b.report.writeJSON(*jsonFile)
	}
	return nil
}

// choose picks the measurements that were named; none means all.
func choose(only string) ([]measurement, error) {
	if only == "" {
		return measurements, nil
	}
	var chosen []measurement
	for _, name := range strings.Split(only, ",") {
		before := len(chosen)
		for _, m := range measurements {
			if m.name == name {
				chosen = append(chosen, m)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("no measurement is called %q", name)
		}
	}
	return chosen, nil
}

func (b *bench) findPrograms() error {
	var err error
	if b.redis, err = exec.LookPath("redis-server"); err != nil {
		return errors.New("redis-server is not installed: make tools installs it")
	}
	if _, err = exec.LookPath("redis-benchmark"); err != nil {
		return errors.New("redis-benchmark is not installed: make tools installs it")
	}
	if b.larder != "" {
		return nil
	}
	b.larder = filepath.Join(b.dir, "larder")
	build := exec.CommandContext(b.ctx, "go", "build", "-o", b.larder, "github.com/larder-db/larder/cmd/larder")
	build.Stderr = os.Stderr
	return build.Run()
}

// describeMachine notes what the figures depend on most.
func (b *bench) describeMachine() error {
	version, err := exec.CommandContext(b.ctx, b.redis, "--version").Output()
	if err != nil {
		return err
	}
	sync, err := syncTime(b.dir)
	if err != nil {
		return err
	}
	words := strings.Fields(string(version))
	b.report.Machine = fmt.Sprintf("%d cores, fdatasync of 4 KiB %v, %s, redis-server %s, %d rounds",
		runtime.NumCPU(), sync.Round(10*time.Microsecond), runtime.GOOS+"/"+runtime.GOARCH,
		strings.TrimPrefix(words[min(2, len(words)-1)], "v="), b.rounds)
	return nil
}

// syncTime is the median time of a small write in place that is synced.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, 4096)
	var times []time.Duration
	for range 200 {
		before := time.Now()
		if _, err := f.WriteAt(block, 0); err != nil {
			return 0, err
		}
		if err := syncData(f); err != nil {
			return 0, err
		}
		times = append(times, time.Since(before))
	}
	return median(times), nil
}
