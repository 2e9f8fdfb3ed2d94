package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A real client library's round through all families, in both protocols. What the library makes of the replies is the
// test: their bytes are compared with a redis-server's elsewhere.
func TestClientLibrary(t *testing.T) {
	s := startLarder(t)
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", protocol), func(t *testing.T) {
			client := redis.NewClient(&redis.Options{Addr: s.addr(), Protocol: protocol, MaxRetries: -1, ClientName: "round"})
			defer client.Close()
			r := &round{t: t, ctx: context.Background(), c: client}
			r.ok(client.FlushAll(r.ctx).Err())
			t.Run("strings", r.strings)
			t.Run("bitmaps", r.bitmaps)
			t.Run("keys", r.keys)
			t.Run("expiry", r.expiry)
			t.Run("scan", r.scan)
			t.Run("dump", r.dump)
			t.Run("pipeline", r.pipeline)
			t.Run("server", r.server)
		})
	}
}

type round struct {
	t   *testing.T
	ctx context.Context
	c   *redis.Client
}

func (r *round) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Error(err)
	}
}

// same fails the test unless got is want and err nil.
func same[T comparable](t *testing.T, want T) func(got T, err error) {
	return func(got T, err error) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
}

func (r *round) strings(t *testing.T) {
	ctx, c := r.ctx, r.c
	same(t, "OK")(c.Set(ctx, "s", "hello", 0).Result())
	same(t, "hello")(c.Get(ctx, "s").Result())
	if err := c.Get(ctx, "missing").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("a missing key: %v", err)
	}
	same(t, "hello")(c.SetArgs(ctx, "s", "world", redis.SetArgs{Mode: "XX", Get: true}).Result())
	same[int64](t, 11)(c.Append(ctx, "s", " again").Result())
	same(t, "world")(c.GetRange(ctx, "s", 0, 4).Result())
	same[int64](t, 11)(c.SetRange(ctx, "s", 0, "W").Result())
	same[int64](t, 11)(c.StrLen(ctx, "s").Result())
	same[int64](t, 42)(c.IncrBy(ctx, "n", 42).Result())
	same[int64](t, 41)(c.Decr(ctx, "n").Result())
	same(t, 41.5)(c.IncrByFloat(ctx, "n", 0.5).Result())
	same(t, "OK")(c.MSet(ctx, "a", "1", "b", "2").Result())
	values, err := c.MGet(ctx, "a", "missing", "b").Result()
	if err != nil || !slices.Equal(values, []any{"1", nil, "2"}) {
		t.Errorf("MGET: %v, %v", values, err)
	}
	same(t, false)(c.MSetNX(ctx, "b", "3", "c", "3").Result())
	same(t, "1")(c.GetDel(ctx, "a").Result())
	same(t, "2")(c.GetEx(ctx, "b", time.Hour).Result())
	same(t, time.Hour)(c.TTL(ctx, "b").Result())
	same(t, true)(c.SetNX(ctx, "once", "x", time.Minute).Result())
	lcs, err := c.LCS(ctx, &redis.LCSQuery{Key1: "s", Key2: "b"}).Result()
	if err != nil || lcs.MatchString != "" {
		t.Errorf("LCS: %+v, %v", lcs, err)
	}
}

func (r *round) bitmaps(t *testing.T) {
	ctx, c := r.ctx, r.c
	same[int64](t, 0)(c.SetBit(ctx, "bits", 100, 1).Result())
	same[int64](t, 1)(c.GetBit(ctx, "bits", 100).Result())
	same[int64](t, 1)(c.BitCount(ctx, "bits", nil).Result())
	same[int64](t, 100)(c.BitPos(ctx, "bits", 1).Result())
	same[int64](t, 13)(c.BitOpNot(ctx, "turned", "bits").Result())
	same[int64](t, 103)(c.BitCount(ctx, "turned", &redis.BitCount{Start: 0, End: -1}).Result())
	fields, err := c.BitField(ctx, "field", "SET", "u8", "#1", "255", "OVERFLOW", "FAIL", "INCRBY", "u8", "#1", "1", "GET", "u4", "8").Result()
	if err == nil || !errors.Is(err, redis.Nil) {
		r.ok(err)
	}
	if len(fields) != 3 || fields[2] != 15 {
		t.Errorf("BITFIELD: %v", fields)
	}
}

func (r *round) keys(t *testing.T) {
	ctx, c := r.ctx, r.c
	same(t, "OK")(c.MSet(ctx, "{k}1", "1", "{k}2", "2").Result())
	same[int64](t, 2)(c.Exists(ctx, "{k}1", "{k}2", "{k}3").Result())
	same(t, "string")(c.Type(ctx, "{k}1").Result())
	same(t, "OK")(c.Rename(ctx, "{k}1", "{k}3").Result())
	same(t, false)(c.RenameNX(ctx, "{k}2", "{k}3").Result())
	same[int64](t, 1)(c.Copy(ctx, "{k}3", "{k}4", 0, false).Result())
	same[int64](t, 2)(c.Touch(ctx, "{k}3", "{k}4").Result())
	same(t, "int")(c.ObjectEncoding(ctx, "{k}4").Result())
	same(t, true)(c.Move(ctx, "{k}4", 9).Result())
	keys, err := c.Keys(ctx, "{k}*").Result()
	slices.Sort(keys)
	if err != nil || !slices.Equal(keys, []string{"{k}2", "{k}3"}) {
		t.Errorf("KEYS: %v, %v", keys, err)
	}
	if key, err := c.RandomKey(ctx).Result(); err != nil || key == "" {
		t.Errorf("RANDOMKEY: %q, %v", key, err)
	}
	same[int64](t, 2)(c.Unlink(ctx, "{k}2", "{k}3", "{k}4").Result())
	same[int64](t, 0)(c.Del(ctx, "{k}2").Result())
}

func (r *round) expiry(t *testing.T) {
	ctx, c := r.ctx, r.c
	r.ok(c.Set(ctx, "e", "x", 0).Err())
	same[time.Duration](t, -1)(c.TTL(ctx, "e").Result())
	same(t, true)(c.Expire(ctx, "e", time.Hour).Result())
	same(t, false)(c.ExpireGT(ctx, "e", time.Minute).Result())
	same(t, true)(c.ExpireLT(ctx, "e", time.Minute).Result())
	same(t, true)(c.PExpireAt(ctx, "e", time.UnixMilli(4102444800123)).Result())
	same(t, 4102444800123*time.Millisecond)(c.PExpireTime(ctx, "e").Result())
	same(t, true)(c.Persist(ctx, "e").Result())
	r.ok(c.Set(ctx, "short", "x", 20*time.Millisecond).Err())
	for deadline := time.Now().Add(patience); ; {
		if errors.Is(c.Get(ctx, "short").Err(), redis.Nil) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a key with 20 ms to live does not go")
		}
	}
}

func (r *round) scan(t *testing.T) {
	ctx, c := r.ctx, r.c
	want := map[string]bool{}
	pipe := c.Pipeline()
	for i := range 2000 {
		key := fmt.Sprintf("scan:%d", i)
		want[key] = true
		pipe.Set(ctx, key, i, 0)
	}
	_, err := pipe.Exec(ctx)
	r.ok(err)
	iter := c.ScanType(ctx, 0, "scan:*", 50, "string").Iterator()
	for iter.Next(ctx) {
		if !want[iter.Val()] {
			t.Fatalf("SCAN returned %q, which is not there or was returned before", iter.Val())
		}
		delete(want, iter.Val())
	}
	r.ok(iter.Err())
	if len(want) > 0 {
		t.Errorf("SCAN left out %d keys", len(want))
	}
}

func (r *round) dump(t *testing.T) {
	ctx, c := r.ctx, r.c
	r.ok(c.Set(ctx, "dumped", strings.Repeat("abc", 1000), 0).Err())
	payload, err := c.Dump(ctx, "dumped").Result()
	r.ok(err)
	same(t, "OK")(c.Restore(ctx, "restored", time.Hour, payload).Result())
	same(t, strings.Repeat("abc", 1000))(c.Get(ctx, "restored").Result())
	if err := c.Restore(ctx, "restored", 0, payload).Err(); err == nil || !strings.HasPrefix(err.Error(), "BUSYKEY") {
		t.Errorf("RESTORE over a key: %v", err)
	}
}

func (r *round) pipeline(t *testing.T) {
	ctx, c := r.ctx, r.c
	var cmds []*redis.IntCmd
	_, err := c.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for range 5000 {
			cmds = append(cmds, pipe.Incr(ctx, "pipelined"))
		}
		return nil
	})
	r.ok(err)
	for i, cmd := range cmds {
		if cmd.Val() != int64(i+1) {
			t.Fatalf("reply %d of the pipeline is %d", i, cmd.Val())
		}
	}
}

func (r *round) server(t *testing.T) {
	ctx, c := r.ctx, r.c
	same(t, "PONG")(c.Ping(ctx).Result())
	same(t, "echo")(c.Echo(ctx, "echo").Result())
	same(t, "round")(c.ClientGetName(ctx).Result())
	info, err := c.Info(ctx, "server").Result()
	if err != nil || !strings.Contains(info, "redis_version:7.2.4") || !strings.Contains(info, "larder_version:") {
		t.Errorf("INFO: %s, %v", info, err)
	}
	commands, err := c.Command(ctx).Result()
	if err != nil || commands["get"] == nil || !commands["get"].ReadOnly {
		t.Errorf("COMMAND: %d commands, %v", len(commands), err)
	}
	r.ok(c.ConfigSet(ctx, "slowlog-max-len", "64").Err())
	values, err := c.ConfigGet(ctx, "slowlog-max-len").Result()
	if err != nil || values["slowlog-max-len"] != "64" {
		t.Errorf("CONFIG GET: %v, %v", values, err)
	}
	if at, err := c.Time(ctx).Result(); err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("TIME: %v, %v", at, err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) { // one may be under way
		err := c.BgSave(ctx).Err()
		if err == nil || !strings.Contains(err.Error(), "already in progress") || time.Now().After(end) {
			r.ok(err)
			return
		}
	}
}
