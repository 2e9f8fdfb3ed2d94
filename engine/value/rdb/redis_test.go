package rdb

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/engine/value"
	"github.com/redis/go-redis/v9"
)

// startRedis runs a redis-server for the test, or skips the test where there is none.
func startRedis(t *testing.T) *redis.Client {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server to compare with")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir,
		"--sanitize-dump-payload", "yes")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, DisableIdentity: true})
	t.Cleanup(func() { c.Close() })
	for deadline := time.Now().Add(time.Minute); c.Ping(context.Background()).Err() != nil; {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
		time.Sleep(5 * time.Millisecond)
	}
	return c
}

// samples are strings of all forms and of all degrees of compressibility.
func samples() []string {
	s := []string{
		"", "0", "-0", "00", "7", "-1", "127", "128", "-128", "-129", "32767", "32768", "-32768", "-32769", "2147483647",
		"2147483648", "-2147483648", "-2147483649", "9223372036854775807", "+1", " 1", "1.5", "hello",
		strings.Repeat("a", 20), strings.Repeat("a", 21), strings.Repeat("a", 63), strings.Repeat("a", 64),
		strings.Repeat("ab", 8000), strings.Repeat("x", 16383), strings.Repeat("x", 100000),
	}
	rng := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("key value larder cache shard slot epoch term index front store the a of and 0 1 42")
	for i := range 3000 {
		var b strings.Builder
		n := rng.IntN(300)
		if i%50 == 0 {
			n *= 200
		}
		letters := 1 + rng.IntN(256)
		for b.Len() < n {
			switch i % 3 {
			case 0:
				b.WriteString(words[rng.IntN(len(words))])
			case 1:
				b.WriteByte(byte(rng.IntN(letters)))
			default:
				b.Write([]byte(strings.Repeat(string(rune('a'+rng.IntN(letters))), 1+rng.IntN(40))))
				b.WriteByte(byte(rng.IntN(256)))
			}
		}
		s = append(s, b.String())
	}
	return s
}

// TestPayloadsAreRedisBytes compares payloads byte for byte, and restores each side's in the other.
func TestPayloadsAreRedisBytes(t *testing.T) {
	c := startRedis(t)
	ctx := context.Background()
	for _, s := range samples() {
		if err := c.Set(ctx, "k", s, 0).Err(); err != nil {
			t.Fatal(err)
		}
		theirs, err := c.Dump(ctx, "k").Result()
		if err != nil {
			t.Fatal(err)
		}
		ours, err := AppendDump(nil, Object{Kind: value.String, String: []byte(s)})
		if err != nil {
			t.Fatal(err)
		}
		if string(ours) != theirs {
			t.Errorf("payload of %.60q (%d bytes) differs:\n ours   %.80x (%d)\n theirs %.80x (%d)", s, len(s), ours, len(ours), theirs, len(theirs))
		}
		o, err := ParseDump([]byte(theirs))
		if err != nil || o.Kind != value.String || string(o.String) != s {
			t.Fatalf("their payload of %.60q reads as %.60q, %v", s, o.String, err)
		}
		if err := c.RestoreReplace(ctx, "r", 0, string(ours)).Err(); err != nil {
			t.Fatalf("our payload of %.60q: %v", s, err)
		}
		if back, _ := c.Get(ctx, "r").Result(); back != s {
			t.Fatalf("our payload of %.60q restores as %.60q", s, back)
		}
	}
}

// TestVerdictsAreRedis gives both sides damaged payloads with a right checksum, and compares acceptance and result.
func TestVerdictsAreRedis(t *testing.T) {
	c := startRedis(t)
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(3, 4))
	for i, s := range samples()[:600] {
		whole, err := AppendDump(nil, Object{Kind: value.String, String: []byte(s)})
		if err != nil {
			t.Fatal(err)
		}
		p := append([]byte(nil), whole[:len(whole)-footer]...)
		for range 1 + i%3 {
			at := 1 + rng.IntN(len(p)-1)
			if i%2 == 0 {
				at = min(at, 1+i%6)
			}
			p[at] ^= byte(1 << rng.IntN(8))
		}
		if i%5 == 0 {
			p = p[:1+rng.IntN(len(p)-1)]
		}
		p = seal(p, Version)
		o, ours := ParseDump(p)
		theirs := c.RestoreReplace(ctx, "r", 0, string(p)).Err()
		if _, err := (&reader{b: p[1:]}).object(p[0]); ours != nil && err == nil {
			continue // the object reaches into the footer, which only Redis takes for data
		}
		if n, _ := c.StrLen(ctx, "r").Result(); ours != nil && theirs == nil && n == 0 {
			continue // Redis takes a failure to unpack for the length 0
		}
		if (ours == nil) != (theirs == nil) {
			t.Fatalf("payload %x: ours %v, theirs %v", p, ours, theirs)
		}
		if ours == nil {
			if back, _ := c.Get(ctx, "r").Result(); back != string(o.String) {
				t.Fatalf("payload %x: ours %.60q, theirs %.60q", p, o.String, back)
			}
		}
	}
}
