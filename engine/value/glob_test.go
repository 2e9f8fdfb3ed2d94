package value

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"*", "", false}, {"**", "", false}, {"*", "a", true}, {"**", "a", true}, {"a", "a", true}, {"a", "b", false},
		{"a*", "a", true}, {"a**", "a", true}, {"*a*", "a", true}, {"a?", "a", false}, {"h?llo", "hello", true}, {"h*llo", "heeello", true},
		{"h[ae]llo", "hallo", true}, {"h[ae]llo", "hillo", false}, {"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false},
		{"h[a-b]llo", "hbllo", true}, {"h[b-a]llo", "hallo", true}, {"h[a-b]llo", "hcllo", false}, {`h\?llo`, "h?llo", true}, {`h\?llo`, "hello", false},
		{`[\]]`, "]", true}, {`[\a-c]`, "-", true}, {"[abc", "b", true}, {"[^", "x", true}, {"[", "x", false}, {"[]", "x", false}, {"[^]", "x", true},
		{"[a-]", "a", true}, {"[a-]", "^", true}, {"[a-", "-", true}, {`a\`, `a\`, true}, {`[\`, `\`, true}, {"*[0-9]*x", "ab7cdx", true},
		{"a*b*c", "a1b2b3c", true}, {"a*b*c", "a1b2b3d", false}, {"*ab", "aab", true}, {"?*", "a", true}, {"??*", "a", false},
		{"[\x80-\xff]", "\x90", true}, {"[a-\xff]", "0", true},
	} {
		if got := Glob([]byte(c.pattern), []byte(c.s)); got != c.want {
			t.Errorf("Glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

// TestGlobIsBounded would not end if every star multiplied the work.
func TestGlobIsBounded(t *testing.T) {
	pattern := []byte(strings.Repeat("a*", 1000) + "b")
	if Glob(pattern, []byte(strings.Repeat("a", 5000))) {
		t.Error("matched without a b")
	}
}

// TestGlobIsRedis compares random patterns over a few letters with what KEYS answers.
func TestGlobIsRedis(t *testing.T) {
	c := startRedis(t)
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(7, 8))
	letters := []string{"a", "b", "c", "-", "]", "[", "^", `\`, "*", "?", "\x80", "\xff", "0"}
	text := func(most int) string {
		var b strings.Builder
		for range rng.IntN(most + 1) {
			b.WriteString(letters[rng.IntN(len(letters))])
		}
		return b.String()
	}
	keys := map[string]bool{"": true}
	for range 400 {
		keys[text(6)] = true
	}
	for k := range keys {
		if err := c.Set(ctx, k, "", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3000 {
		pattern := text(8)
		if rng.IntN(2) == 0 {
			pattern = "*[" + text(4) + "]" + text(2)
		}
		found, err := c.Keys(ctx, pattern).Result()
		if err != nil {
			t.Fatal(err)
		}
		theirs := map[string]bool{}
		for _, k := range found {
			theirs[k] = true
		}
		for k := range keys {
			want := theirs[k]
			if pattern == "*" {
				want = k != "" // KEYS answers this one without matching
			}
			if got := Glob([]byte(pattern), []byte(k)); got != want {
				t.Fatalf("Glob(%q, %q) = %v", pattern, k, got)
			}
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("h[a-c]*?", "hallo")
	f.Add(`[^\`, "]")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		Glob([]byte(pattern), []byte(s))
		if len(s) > 0 && !Glob([]byte("*"+literally(s)+"*"), []byte(s)) {
			t.Fatalf("%q does not match itself", s)
		}
	})
}

// literally is the pattern that only s matches.
func literally(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte('\\')
		b.WriteByte(s[i])
	}
	return b.String()
}

// startRedis runs a redis-server for the test, or skips the test where there is none.
func startRedis(t *testing.T) *redis.Client {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server to compare with")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
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
