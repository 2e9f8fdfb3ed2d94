package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestScripts runs testdata: a checkpoint command's lines are steps (drop-ns N, drop-slot N S, trim T, set N S H key
// value [deadline], del N S H key); list, due, meta and tables print; view and view-list pin and print; crash reopens
// what had been synced.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		fs := vfs.NewCrashableMem()
		s := open(t, fs)
		var v *View
		defer func() {
			if v != nil {
				v.Close()
			}
			closeStore(t, s)
		}()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "checkpoint":
				var index uint64
				d.ScanArgs(t, "index", &index)
				return script(s, index, d.HasArg("abort"), d.Input)
			case "list":
				return lines(contents(t, s))
			case "due":
				var until int64
				d.ScanArgs(t, "until", &until)
				keys, err := s.Due(until, DueKey{}, 100)
				if err != nil {
					return err.Error() + "\n"
				}
				var out []string
				for _, k := range keys {
					out = append(out, fmt.Sprintf("%d %d/%d/%x", k.At, k.Namespace, k.Slot, k.Hash))
				}
				return lines(out)
			case "meta":
				m, ok := s.Meta()
				return fmt.Sprintf("%d %t\n", m.Index, ok)
			case "view":
				var err error
				if v, err = s.View(); err != nil {
					return err.Error() + "\n"
				}
				return ""
			case "view-list":
				return lines(list(t, v, All()))
			case "crash":
				image := fs.CrashClone(vfs.CrashCloneCfg{})
				if v != nil {
					v.Close()
					v = nil
				}
				closeStore(t, s)
				fs = image
				s = open(t, fs)
				return ""
			}
			return "unknown command\n"
		})
	})
}

func lines(out []string) string {
	if len(out) == 0 {
		return "nothing\n"
	}
	return strings.Join(out, "\n") + "\n"
}

func script(s *Store, index uint64, abort bool, steps string) string {
	c, err := s.NewCheckpoint()
	if err != nil {
		return err.Error() + "\n"
	}
	defer c.Abort()
	for step := range strings.Lines(steps) {
		var p Position
		var verb, key, value string
		var number int64
		_, err := fmt.Sscanf(step, "%s %d", &verb, &number)
		switch {
		case err != nil:
		case verb == "drop-ns":
			c.DropNamespace(uint32(number))
		case verb == "drop-slot":
			if _, err = fmt.Sscanf(step, "%s %d %d", &verb, &p.Namespace, &p.Slot); err == nil {
				c.DropSlot(p.Namespace, p.Slot)
			}
		case verb == "trim":
			c.TrimDue(number)
		case verb == "del":
			if _, err = fmt.Sscanf(step, "%s %d %d %x %s", &verb, &p.Namespace, &p.Slot, &p.Hash, &key); err == nil {
				err = c.Delete(p, []byte(key))
			}
		case verb == "set":
			if _, err = fmt.Sscanf(step, "%s %d %d %x %s %s %d", &verb, &p.Namespace, &p.Slot, &p.Hash, &key, &value, &number); err == nil {
				err = c.Set(p, []byte(key), []byte(value), number)
			}
		}
		if err != nil {
			return fmt.Sprintf("%s: %v\n", strings.TrimSpace(step), err)
		}
	}
	if abort {
		err = c.Abort()
	} else {
		err = c.Commit(Meta{Index: index, Term: 1})
	}
	if err != nil {
		return err.Error() + "\n"
	}
	return "ok\n"
}
