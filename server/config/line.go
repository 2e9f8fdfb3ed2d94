package config

//lint:file-ignore ST1005 the messages are redis-server's, to the letter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/larder-db/larder/server/escapes"
)

var errUnbalancedQuotes = errors.New("Unbalanced quotes in configuration line")

// SplitArgs splits a line into words as redis.conf and redis-cli do. Inside "double quotes" \n \r \t \b \a \" \\ and
// \xHH are understood; inside 'single quotes' only \'. A closing quote must end its word.
func SplitArgs(line string) ([]string, error) {
	var args []string
	for {
		line = strings.TrimLeft(line, " \t\r\n\v\f")
		if line == "" {
			return args, nil
		}
		word, rest, err := nextWord(line)
		if err != nil {
			return nil, err
		}
		args = append(args, word)
		line = rest
	}
}

// nextWord takes the first word off a line that does not begin with white space.
func nextWord(line string) (word, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(line); {
		switch c := line[i]; c {
		case ' ', '\t', '\r', '\n', 0:
			return b.String(), line[i+1:], nil
		case '"', '\'':
			n, ok := quoted(&b, line[i+1:], c)
			i += 1 + n
			if !ok || i < len(line) && !escapes.IsSpace(line[i]) {
				return "", "", errUnbalancedQuotes
			}
			return b.String(), line[i:], nil
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), "", nil
}

// quoted unescapes s up to the closing quote and says how many bytes it used, that quote included.
func quoted(b *strings.Builder, s string, quote byte) (used int, ok bool) {
	for i := 0; i < len(s); {
		if c, n := escapes.Read(s[i:]); n > 0 && quote == '"' {
			b.WriteByte(c)
			i += n
			continue
		}
		switch {
		case s[i] == quote:
			return i + 1, true
		case quote == '\'' && strings.HasPrefix(s[i:], `\'`):
			b.WriteByte('\'')
			i += 2
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return len(s), false
}

// Quote spells a word so that SplitArgs reads it back, with quotes only where they are needed.
func Quote(word string) string {
	plain := word != "" && word[0] != '#'
	for i := 0; i < len(word) && plain; i++ {
		c := word[i]
		plain = c > ' ' && c < 0x7f && c != '"' && c != '\'' && c != '\\'
	}
	if plain {
		return word
	}
	return quoteAlways(word)
}

// quoteAlways is Redis's sdscatrepr.
func quoteAlways(word string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(word); i++ {
		switch c := word[i]; c {
		case '\\', '"':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\a':
			b.WriteString(`\a`)
		case '\b':
			b.WriteString(`\b`)
		default:
			if c >= ' ' && c < 0x7f {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoteWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}
