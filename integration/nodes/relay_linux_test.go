package nodes

import (
	"testing"
	"time"
)

// TestProxiesAreLinks: proxies cut, hold up and join again what lies between two nodes, and between a node and its clients,
// each way on its own, and nothing else.
func TestProxiesAreLinks(t *testing.T) {
	c := Start(t, Options{Program: larder, Count: 3, Seed: 1, Loopback: true})
	set := func(n *Node, patience time.Duration) error {
		_, err := n.command(patience, []string{"SET", "k", n.Name()})
		return err
	}
	var leader *Node
	for deadline := time.Now().Add(patience); leader == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody leads")
		}
		for _, n := range c.Nodes {
			if n.Leads() {
				leader = n
			}
		}
	}
	one, other := c.Nodes[(leader.Index+1)%3], c.Nodes[(leader.Index+2)%3]
	for _, way := range [][2]int{{one.Index, leader.Index}, {leader.Index, one.Index}} {
		c.Net.Set(way[0], way[1], Weather{Cut: true})
		if set(one, time.Second) == nil {
			t.Errorf("what %s was told reached the leader, over the cut link %v", one.Name(), way)
		}
		must(t, set(other, patience), set(leader, patience))
		c.Net.Clear()
		must(t, set(one, patience))
	}
	conn, err := one.Dial(patience)
	must(t, err)
	defer conn.Close()
	for _, way := range [][2]int{{Outside, one.Index}, {one.Index, Outside}} {
		const delay = 100 * time.Millisecond
		c.Net.Set(way[0], way[1], Weather{Delay: delay})
		begun := time.Now()
		if _, err := conn.Do(patience, []string{"PING"}); err != nil || time.Since(begun) < delay {
			t.Errorf("over a slow link a reply came within %v: %v", time.Since(begun), err)
		}
		c.Net.Set(way[0], way[1], Weather{Cut: true})
		time.AfterFunc(delay, c.Net.Clear)
		begun = time.Now()
		if _, err := conn.Do(patience, []string{"PING"}); err != nil || time.Since(begun) < delay/2 {
			t.Errorf("over a link that was cut for %v a reply came within %v: %v", delay, time.Since(begun), err)
		}
	}
	c.Net.Set(Outside, one.Index, Weather{Loss: 1})
	begun := time.Now()
	if _, err := conn.Do(patience, []string{"PING"}); err != nil || time.Since(begun) < sentAgain {
		t.Errorf("over a lossy link a reply came within %v: %v", time.Since(begun), err)
	}
	must(t, c.Fault())
}
