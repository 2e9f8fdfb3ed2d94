package history

import (
	"slices"
	"strconv"
	"strings"
)

// operations carry out an operation over the client's connection, by name. What In and Out hold:
//
//	get                         Out: value
//	set v [ms]                  Out: OK
//	setnx v [ms], setxx v       Out: OK or Missing
//	getset v                    Out: the value before
//	del                         Out: 1 or 0
//	cas v [before]              WATCH, GET, MULTI, SET, EXEC. Out: the value that v took the place of
//	                            (In has it where the outcome is unknown)
//	incr                        Out: the value after
//	push e …                    Out: the length after
//	range                       Out: the elements
//	add m …                     Out: how many are new
//	members                     Out: the members, sorted
//	transfer from to n          MULTI, two INCRBY, EXEC. Out: both balances after
//	watched from to n [b b]     WATCH, two GET, MULTI, two SET, EXEC. Out: both balances before (likewise)
//	balances, exec-balances     MGET; GETs within MULTI. Out: all balances
var operations = map[string]func(c *client, o *Op) result{
	"get":   func(c *client, o *Op) result { return unpadded(c.single(o, "GET", o.Key)) },
	"set":   func(c *client, o *Op) result { return c.single(o, setTo(o)...) },
	"setnx": func(c *client, o *Op) result { return c.single(o, append(setTo(o), "NX")...) },
	"setxx": func(c *client, o *Op) result {
		return c.single(o, "SET", o.Key, padded(o.In[0]), "XX", "PX", "36000000")
	},
	"getset": func(c *client, o *Op) result { return unpadded(c.single(o, "GETSET", o.Key, padded(o.In[0]))) },
	"del":    func(c *client, o *Op) result { return c.single(o, "DEL", o.Key) },
	"cas":    compareAndSet,

	"incr":  func(c *client, o *Op) result { return c.single(o, "INCR", o.Key) },
	"push":  func(c *client, o *Op) result { return c.single(o, append([]string{"RPUSH", o.Key}, o.In...)...) },
	"range": func(c *client, o *Op) result { return c.single(o, "LRANGE", o.Key, "0", "-1") },
	"add":   func(c *client, o *Op) result { return c.single(o, append([]string{"SADD", o.Key}, o.In...)...) },
	"members": func(c *client, o *Op) result {
		r := c.single(o, "SMEMBERS", o.Key)
		slices.Sort(r.out)
		return r
	},

	"transfer":      transfer,
	"watched":       watchedTransfer,
	"balances":      balances,
	"exec-balances": execBalances,
}

// setTo is the SET of an operation.
func setTo(o *Op) []string {
	args := []string{"SET", o.Key, padded(o.In[0])}
	if len(o.In) > 1 {
		args = append(args, "PX", o.In[1])
	}
	return args
}

// reads are the operations that change nothing: with no answer they tell nothing, and are left out of what is checked.
var reads = map[string]bool{"get": true, "range": true, "members": true, "balances": true, "exec-balances": true}

// long is how much one in ten values is padded with, so that logs roll and stores are written.
const long = 8 << 10

func padded(value string) string {
	if strings.HasSuffix(value, "0") {
		return value + strings.Repeat(".", long)
	}
	return value
}

// unpadded takes the padding off. Padding that is not whole stays, and no model knows such a value.
func unpadded(r result) result {
	for i, value := range r.out {
		if bare := strings.TrimRight(value, "."); padded(bare) == value {
			r.out[i] = bare
		}
	}
	return r
}

func compareAndSet(c *client, o *Op) result {
	if _, r := c.before(o, "WATCH", o.Key); r != nil {
		return *r
	}
	value, r := c.before(o, "GET", o.Key)
	if r != nil {
		return *r
	}
	read := unpadded(done(words(value)...))
	set := c.transaction(o, []string{"SET", o.Key, padded(o.In[0])})
	if set.outcome == OK {
		return read
	}
	o.In = append(o.In[:1:1], read.out...) // if it was done after all, it took the place of that
	return set
}

// accounts is how many accounts a bank has.
const accounts = 5

func account(bank, number string) string { return bank + "." + number }

func transfer(c *client, o *Op) result {
	return c.transaction(o,
		[]string{"INCRBY", account(o.Key, o.In[0]), "-" + o.In[2]},
		[]string{"INCRBY", account(o.Key, o.In[1]), o.In[2]})
}

func watchedTransfer(c *client, o *Op) result {
	from, to := account(o.Key, o.In[0]), account(o.Key, o.In[1])
	if _, r := c.before(o, "WATCH", from, to); r != nil {
		return *r
	}
	var before [2]int64
	for i, key := range []string{from, to} {
		value, r := c.before(o, "GET", key)
		if r != nil {
			return *r
		}
		before[i] = balance(words(value)[0])
	}
	n := balance(o.In[2])
	r := c.transaction(o, []string{"SET", from, strconv.FormatInt(before[0]-n, 10)}, []string{"SET", to, strconv.FormatInt(before[1]+n, 10)})
	if r.outcome != OK {
		// If it was done after all, it found these balances.
		o.In = append(o.In[:3:3], strconv.FormatInt(before[0], 10), strconv.FormatInt(before[1], 10))
		return r
	}
	return done(strconv.FormatInt(before[0], 10), strconv.FormatInt(before[1], 10))
}

// balance is the number that an account holds; one that is not there holds 0.
func balance(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

func balances(c *client, o *Op) result {
	command := []string{"MGET"}
	for i := range accounts {
		command = append(command, account(o.Key, strconv.Itoa(i)))
	}
	return c.single(o, command...)
}

func execBalances(c *client, o *Op) result {
	var commands [][]string
	for i := range accounts {
		commands = append(commands, []string{"GET", account(o.Key, strconv.Itoa(i))})
	}
	return c.transaction(o, commands...)
}
