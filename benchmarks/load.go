package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// keyOf is redis-benchmark's i-th key, which has 16 bytes.
func keyOf(i int) []byte { return fmt.Appendf(nil, "key:%012d", i) }

// shortKeyOf is one of 11 bytes.
func shortKeyOf(i int) []byte { return fmt.Appendf(nil, "%011d", i) }

// fillers is the number of connections that fill a server, and fillDepth the commands in a pipeline of theirs.
const (
	fillers   = 4
	fillDepth = 128
)

// fill sets n keys to values that cannot be compressed.
func (b *bench) fill(s *server, n int, key func(int) []byte, size int) error {
	return b.inParts(s, n, func(out []byte, rng *rand.Rand, value []byte, i int) []byte {
		randomise(rng, value)
		return appendCommand(out, []byte("SET"), key(i), value)
	}, size, func(reply []byte) bool { return bytes.HasPrefix(reply, []byte("+OK")) })
}

// readAll gets n keys, each of which must have a value of this size.
func (b *bench) readAll(s *server, n int, key func(int) []byte, size int) error {
	head := fmt.Appendf(nil, "$%d\r\n", size)
	return b.inParts(s, n, func(out []byte, _ *rand.Rand, _ []byte, i int) []byte {
		return appendCommand(out, []byte("GET"), key(i))
	}, size, func(reply []byte) bool { return bytes.HasPrefix(reply, head) })
}

func randomise(rng *rand.Rand, value []byte) {
	for i := 0; i+8 <= len(value); i += 8 {
		binary.LittleEndian.PutUint64(value[i:], rng.Uint64())
	}
}

// inParts runs n commands in deep pipelines, split over a few connections, and checks every reply.
func (b *bench) inParts(s *server, n int, command func(out []byte, rng *rand.Rand, value []byte, i int) []byte,
	size int, good func(reply []byte) bool) error {
	var group sync.WaitGroup
	faults := make(chan error, fillers)
	for part := range fillers {
		from, to := n*part/fillers, n*(part+1)/fillers
		group.Go(func() {
			if err := runPart(b.ctx, s, from, to, command, size, good); err != nil {
				faults <- err
			}
		})
	}
	group.Wait()
	select {
	case err := <-faults:
		return fmt.Errorf("%s: %w; it said: %s", s.name, err, s.said.String())
	default:
		return nil
	}
}

func runPart(ctx context.Context, s *server, from, to int, command func([]byte, *rand.Rand, []byte, int) []byte,
	size int, good func([]byte) bool) error {
	conn, err := net.Dial("tcp", s.addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := bufio.NewReaderSize(conn, 1<<16)
	rng := rand.New(rand.NewPCG(uint64(from), uint64(to)))
	value := make([]byte, size)
	var out, reply []byte
	for at := from; at < to; {
		next := min(to, at+fillDepth)
		out = out[:0]
		for i := at; i < next; i++ {
			out = command(out, rng, value, i)
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
		for ; at < next; at++ {
			if reply, err = readReply(in, reply[:0]); err != nil {
				return err
			}
			if !good(reply) {
				return fmt.Errorf("command %d was answered with %.80q", at, reply)
			}
		}
	}
	return nil
}

func appendCommand(out []byte, args ...[]byte) []byte {
	out = strconv.AppendInt(append(out, '*'), int64(len(args)), 10)
	for _, a := range args {
		out = strconv.AppendInt(append(out, "\r\n$"...), int64(len(a)), 10)
		out = append(append(out, "\r\n"...), a...)
	}
	return append(out, "\r\n"...)
}

// readReply reads a simple reply or a string.
func readReply(in *bufio.Reader, reply []byte) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	reply = append(reply, line...)
	if line[0] != '$' || line[1] == '-' {
		return reply, nil
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-2]))
	if err != nil {
		return nil, err
	}
	from := len(reply)
	reply = append(reply, make([]byte, n+2)...)
	_, err = io.ReadFull(in, reply[from:])
	return reply, err
}

// mix sends GET and SET by turns over all connections at a rate, for a while, and returns the latencies, sorted. They
// count from the moment when a request was due, so that a server which stalls cannot hide it by being asked less. A
// rate of 0 sends as fast as answers come.
func (b *bench) mix(s *server, rate float64, length time.Duration) ([]time.Duration, error) {
	var group sync.WaitGroup
	parts := make([][]time.Duration, clients)
	faults := make(chan error, clients)
	begin := time.Now()
	for i := range clients {
		group.Go(func() {
			m := mixer{server: s, keys: b.sizes.keys, begin: begin, length: length, rng: rand.New(rand.NewPCG(uint64(i), 3))}
			if rate > 0 {
				m.period = time.Duration(float64(clients) / rate * float64(time.Second))
				m.begin = begin.Add(m.period * time.Duration(i) / clients)
			}
			var err error
			if parts[i], err = m.run(b.ctx); err != nil {
				faults <- err
			}
		})
	}
	group.Wait()
	select {
	case err := <-faults:
		return nil, err
	default:
	}
	all := slices.Concat(parts...)
	slices.Sort(all)
	return all, nil
}

// mixer is one connection of the mix.
type mixer struct {
	server *server
	keys   int
	begin  time.Time
	length time.Duration
	period time.Duration // 0: as fast as answers come
	rng    *rand.Rand
}

func (m *mixer) run(ctx context.Context) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", m.server.addr())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := bufio.NewReader(conn)
	value := make([]byte, valueBytes)
	var out, reply []byte
	var latencies []time.Duration
	for due, n := m.begin, 0; due.Sub(m.begin) < m.length; n++ {
		time.Sleep(time.Until(due))
		key := keyOf(m.rng.IntN(m.keys))
		if n%2 == 0 {
			out = appendCommand(out[:0], []byte("GET"), key)
		} else {
			randomise(m.rng, value)
			out = appendCommand(out[:0], []byte("SET"), key, value)
		}
		if _, err := conn.Write(out); err != nil {
			return nil, err
		}
		if reply, err = readReply(in, reply[:0]); err != nil {
			return nil, err
		}
		if reply[0] == '-' {
			return nil, fmt.Errorf("answered %.80q", reply)
		}
		now := time.Now()
		latencies = append(latencies, now.Sub(due))
		if due = due.Add(m.period); m.period == 0 {
			due = now
		}
	}
	return latencies, nil
}

// percentile of sorted latencies, in milliseconds.
func percentile(sorted []time.Duration, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := min(len(sorted)-1, int(p/100*float64(len(sorted))))
	return float64(sorted[at]) / float64(time.Millisecond)
}
