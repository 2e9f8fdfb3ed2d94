package peer

import (
	"net"
	"slices"
	"time"
)

// strangers are the accepted connections whose other ends have not proven themselves yet, oldest first. Where there is no room
// for another, that of the address with the most has to make some: whoever dials without end takes places away from himself.
// Among equals only those that are slow give way: where honest nodes dial by the hundred, those under way are to end well.
type strangers struct {
	most int
	list []stranger
}

type stranger struct {
	conn  net.Conn
	host  string
	since time.Time
}

// slowStranger is more than an honest handshake takes.
const slowStranger = 500 * time.Millisecond

// add takes a connection in, and returns one that is to be closed for it, if there was no room: it may be the new one.
func (s *strangers) add(c net.Conn, now time.Time) (leaves net.Conn) {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	if len(s.list) >= s.most {
		i := s.loser(host)
		if i < 0 || s.of(s.list[i].host) <= s.of(host)+1 && now.Sub(s.list[i].since) < slowStranger {
			return c
		}
		leaves = s.list[i].conn
		s.list = slices.Delete(s.list, i, i+1)
	}
	s.list = append(s.list, stranger{c, host, now})
	return leaves
}

// of is how many are of an address.
func (s *strangers) of(host string) (n int) {
	for _, x := range s.list {
		if x.host == host {
			n++
		}
	}
	return n
}

// loser is the oldest one of the addresses that have the most, with one more of this one.
func (s *strangers) loser(another string) (at int) {
	counts := map[string]int{another: 1}
	for _, x := range s.list {
		counts[x.host]++
	}
	most := 0
	for _, n := range counts {
		most = max(most, n)
	}
	return slices.IndexFunc(s.list, func(x stranger) bool { return counts[x.host] == most })
}

// remove forgets a connection.
func (s *strangers) remove(c net.Conn) {
	s.list = slices.DeleteFunc(s.list, func(x stranger) bool { return x.conn == c })
}
