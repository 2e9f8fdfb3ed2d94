package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/larder-db/larder/server/resp"
)

// Events whose delays LATENCY tells of. Those that Redis has bear its names.
const (
	eventCommand     = "command"
	eventFastCommand = "fast-command"
	eventExpireCycle = "expire-cycle"     // keys whose time has come, until the log has deleted them
	eventSync        = "aof-fsync-always" // a sync of the log, whatever appendfsync is
	eventCheckpoint  = "checkpoint"       // from its beginning until it is durable; clients do not wait meanwhile
)

// advice is what LATENCY DOCTOR says about each event.
var advice = map[string]string{
	eventCommand:     "SLOWLOG GET shows which commands were slow. Large values and ranges are cheaper in parts; data that is larger than memory is read from disk.",
	eventFastCommand: "Commands of bounded work are slow where the machine is busy, or the keys are cold. See SLOWLOG GET, and give the server a core of its own.",
	eventExpireCycle: "Many keys come to their end at the same time: spread their times to live.",
	eventSync:        "Each write waits for the disk: look for what else writes to it, or see whether appendfsync everysec is enough.",
	eventCheckpoint:  "Checkpoints run in the background. Long ones mean that much has changed or that the disk is slow.",
}

// latencySamples is how many delays are kept of an event, at most one per second.
const latencySamples = 160

// latencyMonitor remembers delays of at least latency-monitor-threshold.
type latencyMonitor struct {
	mu struct {
		sync.Mutex
		events map[string]*delays
	}
}

// delays are those of one event.
type delays struct {
	samples []delay // oldest first
	longest int64   // milliseconds, since the last reset
}

type delay struct {
	at     int64 // Unix seconds
	millis int64
}

// delayed notes that an event took so long, if that is worth noting.
func (n *node) delayed(event string, took time.Duration) {
	if least := n.config.Load().LatencyMonitorThreshold; least > 0 && took.Milliseconds() >= least {
		n.latency.note(event, time.Now().Unix(), took.Milliseconds())
	}
}

// note remembers a delay; of several in one second, the longest.
func (m *latencyMonitor) note(event string, at, millis int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.events == nil {
		m.mu.events = map[string]*delays{}
	}
	d := m.mu.events[event]
	if d == nil {
		d = &delays{}
		m.mu.events[event] = d
	}
	d.longest = max(d.longest, millis)
	if n := len(d.samples); n > 0 && d.samples[n-1].at == at {
		d.samples[n-1].millis = max(d.samples[n-1].millis, millis)
		return
	}
	if len(d.samples) == latencySamples {
		d.samples = slices.Delete(d.samples, 0, 1)
	}
	d.samples = append(d.samples, delay{at, millis})
}

// of copies the delays of an event; there are none if it has no samples.
func (m *latencyMonitor) of(event string) delays {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.mu.events[event]
	if d == nil {
		return delays{}
	}
	return delays{slices.Clone(d.samples), d.longest}
}

// events lists the events of which there are delays.
func (m *latencyMonitor) events() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.mu.events))
}

// reset forgets an event's delays.
func (m *latencyMonitor) reset(event string) (known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, known = m.mu.events[event]
	delete(m.mu.events, event)
	return known
}

func latencyLatest(s *session, _ [][]byte, w *resp.Writer) {
	m := &s.server.node.latency
	events := m.events()
	all := make([]delays, len(events))
	for i, event := range events {
		all[i] = m.of(event)
	}
	w.Array(len(events))
	for i, event := range events {
		last := delay{}
		if n := len(all[i].samples); n > 0 { // else it has been reset meanwhile
			last = all[i].samples[n-1]
		}
		w.Array(4)
		w.BulkString(event)
		w.Int(last.at)
		w.Int(last.millis)
		w.Int(all[i].longest)
	}
}

func latencyHistory(s *session, args [][]byte, w *resp.Writer) {
	d := s.server.node.latency.of(string(args[2]))
	w.Array(len(d.samples))
	for _, sample := range d.samples {
		w.Array(2)
		w.Int(sample.at)
		w.Int(sample.millis)
	}
}

func latencyReset(s *session, args [][]byte, w *resp.Writer) {
	m := &s.server.node.latency
	events := m.events()
	if len(args) > 2 {
		events = events[:0]
		for _, a := range args[2:] {
			events = append(events, string(a))
		}
	}
	known := int64(0)
	for _, event := range events {
		if m.reset(event) {
			known++
		}
	}
	w.Int(known)
}

func latencyGraph(s *session, args [][]byte, w *resp.Writer) {
	event := string(args[2])
	d := s.server.node.latency.of(event)
	if len(d.samples) == 0 {
		w.Error("ERR No samples available for event '" + string(shortened(args[2], shownBytes)) + "'")
		return
	}
	w.Verbatim("txt", d.graph(event, time.Now().Unix()))
}

const (
	graphRows    = 4
	graphColumns = 80
)

// graph draws the last delays as columns, the highest of them over all rows, with their ages below, top down.
func (d *delays) graph(event string, now int64) string {
	shown := d.samples[max(0, len(d.samples)-graphColumns):]
	low, high := shown[0].millis, shown[0].millis
	for _, s := range shown {
		low, high = min(low, s.millis), max(high, s.millis)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s - high %d ms, low %d ms (all time high %d ms)\n%s\n", event, high, low, d.longest, strings.Repeat("-", graphColumns))
	for row := graphRows; row > 0; row-- {
		for _, s := range shown {
			filled := (s.millis*graphRows + high - 1) / high // rows of this column, at least one
			if filled >= int64(row) {
				b.WriteByte('#')
			} else {
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	ages := make([]string, len(shown))
	deepest := 0
	for i, s := range shown {
		ages[i] = age(now - s.at)
		deepest = max(deepest, len(ages[i]))
	}
	for row := range deepest {
		b.WriteByte('\n')
		for _, a := range ages {
			if row < len(a) {
				b.WriteByte(a[row])
			} else {
				b.WriteByte(' ')
			}
		}
	}
	b.WriteByte('\n')
	return b.String()
}

// age shortens a number of seconds to its greatest unit.
func age(seconds int64) string {
	switch seconds = max(seconds, 0); {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%dm", seconds/60)
	case seconds < 24*3600:
		return fmt.Sprintf("%dh", seconds/3600)
	default:
		return fmt.Sprintf("%dd", seconds/(24*3600))
	}
}

func latencyDoctor(s *session, _ [][]byte, w *resp.Writer) {
	m := &s.server.node.latency
	var b strings.Builder
	for _, event := range m.events() {
		if d := m.of(event); len(d.samples) > 0 {
			d.sumUp(&b, event)
		}
	}
	switch {
	case b.Len() > 0:
	case s.server.config.Load().LatencyMonitorThreshold == 0:
		b.WriteString("Delays are not watched: CONFIG SET latency-monitor-threshold <milliseconds> has those noted that are as long. SLOWLOG shows slow commands, INFO larder the slowest sync of the log.\n")
	default:
		b.WriteString("No delay was noted since the start or the last LATENCY RESET.\n")
	}
	w.Verbatim("txt", b.String())
}

// sumUp writes a paragraph about an event.
func (d *delays) sumUp(b *strings.Builder, event string) {
	sum, least := int64(0), d.samples[0].millis
	for _, s := range d.samples {
		sum += s.millis
		least = min(least, s.millis)
	}
	n := int64(len(d.samples))
	fmt.Fprintf(b, "%s: %d delays, %d ms on average (%d to %d ms), over %s. %s\n",
		event, n, sum/n, least, d.longest, age(d.samples[n-1].at-d.samples[0].at), advice[event])
}

// latencyHistogram tells of the given commands, or of all, how many calls took at most how many microseconds.
func latencyHistogram(s *session, args [][]byte, _ *resp.Writer) {
	t := s.server.table
	var wanted []int
	if len(args) == 2 {
		for id := range t.names {
			wanted = append(wanted, id)
		}
	}
	for _, a := range args[2:] {
		e := t.byFullName(a)
		switch {
		case e == nil:
		case e.container():
			for _, sub := range t.subs(e) {
				wanted = append(wanted, sub.id)
			}
		default:
			wanted = append(wanted, e.id)
		}
	}
	gather(s, (*loop).copyFigures, func(parts []loopTotals, w *resp.Writer) {
		stats := make([]commandStat, len(t.names))
		for _, l := range parts {
			for i := range l.stats {
				stats[i].add(&l.stats[i])
			}
		}
		wanted = slices.DeleteFunc(wanted, func(id int) bool { return stats[id].timed() == 0 })
		w.Map(len(wanted))
		for _, id := range wanted {
			w.BulkString(t.names[id])
			stats[id].writeHistogram(w)
		}
	})
}

// writeHistogram writes the classes that hold a call, each with the number of calls up to its end.
func (c *commandStat) writeHistogram(w *resp.Writer) {
	classes := 0
	for _, n := range c.histogram {
		if n > 0 {
			classes++
		}
	}
	w.Map(2)
	w.BulkString("calls")
	w.Int(int64(c.timed()))
	w.BulkString("histogram_usec")
	w.Map(classes)
	sum := uint64(0)
	for i, n := range c.histogram {
		if sum += n; n > 0 {
			w.Int(classEnd(i))
			w.Int(int64(sum))
		}
	}
}

func latencyHelp(_ *session, _ [][]byte, w *resp.Writer) {
	help(w, "LATENCY",
		"DOCTOR",
		"    Sums up the delays that were noted.",
		"GRAPH <event>",
		"    Draws the delays of an event.",
		"HISTOGRAM [<command> ...]",
		"    Returns how many calls of commands took at most how many microseconds.",
		"HISTORY <event>",
		"    Returns the delays of an event: Unix seconds, milliseconds.",
		"LATEST",
		"    Returns the last delay of each event, and the longest.",
		"RESET [<event> ...]",
		"    Forgets delays and returns of how many events.")
}
