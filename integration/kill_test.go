package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// What was acknowledged is there after kill -9; what was not may be there or not, but nothing else may. Each writer has
// keys of its own and never writes a value twice, so it knows for every key what it may hold.

// knowledge is what a writer knows of one key. "" stands for no value.
type knowledge struct {
	certain  string   // last acknowledged, or read
	possible []string // asked for since, outcome unknown
}

func (k *knowledge) allows(value string) bool {
	return value == k.certain || slices.Contains(k.possible, value)
}

// writer writes to its own keys until its server is gone.
type writer struct {
	name  string
	n     int // makes values unique
	keys  map[string]*knowledge
	acked *atomic.Int64
	rng   *rand.Rand
}

const keysPerWriter = 300

func newWriter(name string, seed uint64, acked *atomic.Int64) *writer {
	return &writer{name: name, keys: map[string]*knowledge{}, acked: acked, rng: rand.New(rand.NewPCG(seed, 1))}
}

// next chooses a key and what it shall hold; one in ten is a deletion. Large values now and then fill log and front.
func (w *writer) next() (key, value string) {
	w.n++
	key = fmt.Sprintf("%s:%d", w.name, w.rng.IntN(keysPerWriter))
	if w.keys[key] == nil {
		w.keys[key] = &knowledge{}
	}
	switch w.rng.IntN(20) {
	case 0, 1:
		return key, ""
	case 2:
		return key, fmt.Sprintf("%s=%d %s", key, w.n, strings.Repeat("x", w.rng.IntN(20_000)))
	default:
		return key, fmt.Sprintf("%s=%d", key, w.n)
	}
}

func (w *writer) asked(key, value string) { w.keys[key].possible = append(w.keys[key].possible, value) }

func (w *writer) acknowledged(key, value string) {
	w.acked.Add(1)
	k := w.keys[key]
	k.certain = value
	// What was asked for before has been done, or is overwritten.
	k.possible = k.possible[slices.Index(k.possible, value)+1:]
}

// raw writes in pipelines over a plain connection.
func (w *writer) raw(addr string) error {
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer conn.conn.Close()
	const depth = 16
	for {
		var keys, values [depth]string
		for i := range depth {
			keys[i], values[i] = w.next()
			if values[i] == "" {
				conn.put("DEL", keys[i])
			} else {
				conn.put("SET", keys[i], values[i])
			}
			w.asked(keys[i], values[i])
		}
		if err := conn.send(); err != nil {
			return nil // the server is gone
		}
		for i := range depth {
			reply, err := conn.reply()
			if err != nil {
				return nil
			}
			if reply != "+OK\r\n" && reply[0] != ':' {
				return fmt.Errorf("%s: %q", keys[i], reply)
			}
			w.acknowledged(keys[i], values[i])
		}
	}
}

// client writes one by one through a client library.
func (w *writer) client(addr string) error {
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, ReadTimeout: patience})
	defer client.Close()
	ctx := context.Background()
	for {
		key, value := w.next()
		w.asked(key, value)
		var err error
		if value == "" {
			err = client.Del(ctx, key).Err()
		} else {
			err = client.Set(ctx, key, value, 0).Err()
		}
		var answered redis.Error
		if errors.As(err, &answered) {
			return fmt.Errorf("%s: %w", key, err)
		}
		if err != nil {
			return nil // the server is gone
		}
		w.acknowledged(key, value)
	}
}

// check reads all keys back.
func (w *writer) check(t *testing.T, conn *wire) {
	t.Helper()
	for key, k := range w.keys {
		value := ""
		if reply := conn.do(t, "GET", key); reply != "$-1\r\n" {
			value = text(t, reply)
		}
		if !k.allows(value) {
			t.Errorf("%s holds %s; acknowledged was %s; %d writes since were not answered",
				key, shorten(value), shorten(k.certain), len(k.possible))
		}
		k.certain, k.possible = value, nil
	}
}

func TestKillUnderLoad(t *testing.T) {
	for _, policy := range []string{"always", "everysec"} {
		t.Run(policy, func(t *testing.T) {
			// Checkpoints follow each other closely, so that kills hit them too.
			s := startLarder(t, "--appendfsync", policy, "--checkpoint-log-bytes", "1mb")
			var acked atomic.Int64
			var writers []*writer
			for i := range 8 {
				writers = append(writers, newWriter(fmt.Sprintf("w%d", i), uint64(i), &acked))
			}
			rng := rand.New(rand.NewPCG(7, 7))
			for round := range 6 {
				loadUntilKilled(t, s, writers, &acked, int64(3000+rng.IntN(9000)))
				s.restart()
				conn := connect(t, s)
				for _, w := range writers {
					w.check(t, conn)
				}
				if t.Failed() {
					t.Fatalf("in round %d", round)
				}
			}
			t.Logf("%d acknowledged writes checked", acked.Load())
		})
	}
}

// loadUntilKilled lets the writers write, and kills the server once enough more writes are acknowledged.
func loadUntilKilled(t *testing.T, s *server, writers []*writer, acked *atomic.Int64, enough int64) {
	t.Helper()
	target := acked.Load() + enough
	var group sync.WaitGroup
	failed := make(chan error, len(writers))
	for i, w := range writers {
		write := w.raw
		if i%2 == 1 {
			write = w.client
		}
		group.Go(func() {
			if err := write(s.addr()); err != nil {
				failed <- err
			}
		})
	}
	deadline := time.Now().Add(patience)
	var err error
	for acked.Load() < target && err == nil {
		select {
		case err = <-failed:
		case <-s.ended:
			err = fmt.Errorf("the server ended by itself: %v", s.err)
		case <-time.After(time.Millisecond):
			if time.Now().After(deadline) {
				err = fmt.Errorf("only %d of %d writes acknowledged in %v", acked.Load(), target, patience)
			}
		}
	}
	s.kill()
	group.Wait()
	if err != nil {
		t.Fatalf("%v; the server said:\n%s", err, s.output.String())
	}
	close(failed)
	for err := range failed {
		t.Errorf("a write was answered with an error: %v", err)
	}
}

// TestKillKeepsCounters: an increment that was acknowledged happened, and one that was not happened at most once.
func TestKillKeepsCounters(t *testing.T) {
	s := startLarder(t, "--checkpoint-log-bytes", "1mb")
	var lowest int64
	for range 4 {
		conn := connect(t, s)
		const sent = 2000
		for range sent {
			conn.put("INCR", "counter")
		}
		if err := conn.send(); err != nil {
			t.Fatal(err)
		}
		before := lowest
		for range sent / 2 { // the rest is unanswered when the kill comes
			if _, err := conn.reply(); err != nil {
				t.Fatal(err)
			}
			lowest++
		}
		s.kill()
		s.restart()
		var now int64
		if _, err := fmt.Sscanf(text(t, connect(t, s).do(t, "GET", "counter")), "%d", &now); err != nil {
			t.Fatal(err)
		}
		if now < lowest || now > before+sent {
			t.Fatalf("the counter is %d; it must be between %d and %d", now, lowest, before+sent)
		}
		lowest = now
	}
}
