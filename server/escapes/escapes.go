// Package escapes knows what the words of configuration files and inline commands are made of.
package escapes

// IsSpace says whether a byte parts words.
func IsSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// Read reads the escape that text within double quotes begins with: the byte that it stands for and how many it takes.
// length is 0 if the text begins with none.
func Read[T string | []byte](text T) (c byte, length int) {
	switch {
	case len(text) < 2 || text[0] != '\\':
		return 0, 0
	case len(text) >= 4 && text[1] == 'x' && isHex(text[2]) && isHex(text[3]):
		return unhex(text[2])<<4 | unhex(text[3]), 4
	}
	switch c = text[1]; c {
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'b':
		c = '\b'
	case 'a':
		c = '\a'
	}
	return c, 2
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}
