package rdb

// nodes is a list in several strings, each of them packed or an element of its own.
type nodes struct {
	r      *reader
	left   uint64
	marked bool // each node says first whether it is packed, and packed ones are listpacks; else all are ziplists
	node   sequence
}

// The marks of nodes.
const (
	nodePlain  = 1
	nodePacked = 2
)

func openNodes(marked bool) func(*reader) (sequence, error) {
	return func(r *reader) (sequence, error) {
		n, err := r.count(1)
		return &nodes{r: r, left: n, marked: marked}, err
	}
}

func (n *nodes) next() (s []byte, more bool, err error) {
	for {
		if n.node != nil {
			if s, more, err = n.node.next(); err != nil || more {
				return s, more, err
			}
			n.node = nil
		}
		if n.left == 0 {
			return nil, false, nil
		}
		n.left--
		if s, more, err = n.open(); err != nil || more {
			return s, more, err
		}
	}
}

// open begins the next node. One that is an element of its own it returns.
func (n *nodes) open() (s []byte, plain bool, err error) {
	mark := uint64(nodePacked)
	if n.marked {
		if mark, _, err = n.r.length(); err != nil {
			return nil, false, err
		}
		if mark != nodePlain && mark != nodePacked {
			return nil, false, damaged("unknown node of a list")
		}
	}
	if s, err = n.r.str(); err != nil || mark == nodePlain {
		return s, true, err
	}
	if n.marked {
		n.node, err = newListpack(s)
	} else {
		n.node, err = newZiplist(s)
	}
	return nil, false, err
}
