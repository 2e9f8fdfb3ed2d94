package history

import (
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// A model says what a key that holds a state may answer, and what it holds then. An operation whose outcome is unknown
// may be placed anywhere after its call, at the end of all too, where nobody sees it.

type step func(state string, o *Op) (allowed bool, next string)

var models = map[Kind]struct {
	initial string
	step    step
}{
	Register: {Missing, stepRegister},
	Counter:  {"0", stepCounter},
	List:     {"", stepList},
	Set:      {"", stepSet},
	Bank:     {strings.Repeat("0 ", accounts-1) + "0", stepBank},
}

// model wraps a kind's model for porcupine.
func model(kind Kind) porcupine.Model {
	if kind == Fleeting {
		return fleetingModel()
	}
	m := models[kind]
	return porcupine.Model{
		Init: func() any { return m.initial },
		Step: func(state, input, _ any) (bool, any) {
			return m.step(state.(string), input.(*Op))
		},
		DescribeOperation: func(input, _ any) string { return input.(*Op).String() },
		DescribeState:     func(state any) string { return state.(string) },
	}
}

// fleetingModel is the model of a key whose state is not known for certain.
func fleetingModel() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{fleeting{Missing, forever, forever}} },
		Step: func(state, input, _ any) (next []any) {
			for _, f := range stepFleeting(state.(fleeting), input.(*Op)) {
				next = append(next, f)
			}
			return next
		},
		DescribeOperation: func(input, _ any) string { return input.(*Op).String() },
		DescribeState:     func(state any) string { return state.(fleeting).String() },
	}
	return m.ToModel()
}

// answered says that the operation was answered, and otherwise than with want.
func (o *Op) answered(want ...string) bool { return o.Outcome != OK || slices.Equal(o.Out, want) }

func stepRegister(state string, o *Op) (bool, string) {
	switch o.Name {
	case "get":
		return o.answered(state), state
	case "set":
		return o.answered("OK"), o.In[0]
	case "setnx", "setxx":
		if (state == Missing) == (o.Name == "setnx") {
			return o.answered("OK"), o.In[0]
		}
		return o.answered(Missing), state
	case "getset":
		return o.answered(state), o.In[0]
	case "del":
		if state == Missing {
			return o.answered("0"), state
		}
		return o.answered("1"), Missing
	case "cas":
		if o.Outcome == OK {
			return o.Out[0] == state, o.In[0]
		}
		if o.In[1] == state {
			return true, o.In[0]
		}
		return true, state
	}
	return false, state
}

func stepCounter(state string, o *Op) (bool, string) {
	switch o.Name {
	case "get":
		return o.answered(state) || state == "0" && o.answered(Missing), state
	case "incr":
		next := strconv.FormatInt(balance(state)+1, 10)
		return o.answered(next), next
	}
	return false, state
}

// A list's or a set's state is its elements, in order, with a space between them.

func stepList(state string, o *Op) (bool, string) {
	switch o.Name {
	case "range":
		return o.answered(strings.Fields(state)...), state
	case "push":
		next := strings.TrimSpace(state + " " + strings.Join(o.In, " "))
		return o.answered(strconv.Itoa(strings.Count(next, " ") + 1)), next
	}
	return false, state
}

func stepSet(state string, o *Op) (bool, string) {
	members := strings.Fields(state)
	switch o.Name {
	case "members":
		return o.answered(members...), state
	case "add":
		added := 0
		for _, member := range o.In {
			if at, there := slices.BinarySearch(members, member); !there {
				members = slices.Insert(members, at, member)
				added++
			}
		}
		return o.answered(strconv.Itoa(added)), strings.Join(members, " ")
	}
	return false, state
}

func stepBank(state string, o *Op) (bool, string) {
	all := strings.Fields(state)
	switch o.Name {
	case "balances", "exec-balances":
		return o.Outcome != OK || slices.EqualFunc(o.Out, all, func(got, want string) bool { return got == want || got == Missing && want == "0" }), state
	case "transfer", "watched":
		from, to := int(balance(o.In[0])), int(balance(o.In[1]))
		before := []string{all[from], all[to]}
		all[from] = strconv.FormatInt(balance(all[from])-balance(o.In[2]), 10)
		all[to] = strconv.FormatInt(balance(all[to])+balance(o.In[2]), 10)
		next := strings.Join(all, " ")
		switch {
		case o.Name == "transfer":
			return o.answered(all[from], all[to]), next
		case o.Outcome == OK:
			return o.answered(before...), next
		case slices.Equal(o.In[3:], before):
			return true, next
		}
		return true, state
	}
	return false, state
}
