package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/server"
)

// clusterCmd works over the admin API of a node.
type clusterCmd struct {
	Status       clusterStatusCmd    `cmd:"" help:"Show nodes, shards, moves and migrations."`
	Wait         clusterWaitCmd      `cmd:"" help:"Wait until the cluster is as it should be."`
	Add          clusterAddCmd       `cmd:"" help:"Tell how a node joins, or wait until one has."`
	Drain        clusterDrainCmd     `cmd:"" help:"Move a node's replicas to others."`
	Undrain      clusterUndrainCmd   `cmd:"" help:"Take a drained node into use again."`
	Remove       clusterRemoveCmd    `cmd:"" help:"Remove a node that has been drained."`
	Replicas     clusterReplicasCmd  `cmd:"" help:"Set how many replicas shards have."`
	AddShards    clusterAddShardsCmd `cmd:"" help:"Add shards, which own no slots at first."`
	RemoveShard  clusterRmShardCmd   `cmd:"" help:"Remove a shard that owns no slots."`
	Rebalance    clusterRebalanceCmd `cmd:"" help:"Place all shards by the ring, those placed by hand too."`
	MoveShard    clusterMoveCmd      `cmd:"" help:"Move a shard's replica from node to node."`
	MigrateSlots clusterMigrateCmd   `cmd:"" help:"Take slots from one shard to another."`
	Pause        clusterPauseCmd     `cmd:"" help:"Have a move or a migration rest."`
	Resume       clusterResumeCmd    `cmd:"" help:"Have a move or a migration go on."`
	Cancel       clusterCancelCmd    `cmd:"" help:"Take a move or a migration back."`
	Recover      clusterRecoverCmd   `cmd:"" help:"Begin a new cluster out of one node after a majority is lost for good. Loses writes."`
}

// adminTarget is the node whose admin API is called.
type adminTarget struct {
	Addr  string `help:"Client address of a node, which says where its admin API is." default:"127.0.0.1:6379" placeholder:"HOST:PORT"`
	Admin string `help:"Address of the admin API, if the node is not to be asked." placeholder:"HOST:PORT"`
	Token string `help:"The admin-token." env:"LARDER_ADMIN_TOKEN"`
	Cert  string `help:"Certificate to show to the node, where its tls-port asks for one." and:"cert" placeholder:"FILE"`
	Key   string `help:"The certificate's key." and:"cert" placeholder:"FILE"`
}

// callTime bounds one call of the admin API.
const callTime = 30 * time.Second

func (t adminTarget) client() (*cluster.AdminClient, error) {
	address := t.Admin
	if address == "" {
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		defer cancel()
		var own []tls.Certificate
		if t.Cert != "" {
			cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
			if err != nil {
				return nil, fmt.Errorf("the certificate to show: %w", err)
			}
			own = append(own, cert)
		}
		_, told, err := server.Where(ctx, t.Addr, own...)
		if err != nil {
			return nil, fmt.Errorf("ask %s for its admin API: %w", t.Addr, err)
		}
		if told == "" {
			return nil, fmt.Errorf("%s has no admin API: see admin-port, or say --admin HOST:PORT", t.Addr)
		}
		if address, err = reachable(told, t.Addr); err != nil {
			return nil, fmt.Errorf("the admin API of %s: %w", t.Addr, err)
		}
	}
	return &cluster.AdminClient{Address: address, Token: t.Token}, nil
}

// reachable is the address of the admin API as it is reached from here: one that listens everywhere is where the node is.
func reachable(admin, node string) (string, error) {
	host, port, err := net.SplitHostPort(admin)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if host, _, err = net.SplitHostPort(node); err != nil {
			return "", err
		}
	}
	return net.JoinHostPort(host, port), nil
}

// call sends one request.
func (t adminTarget) call(method, path string, body, out any) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	return c.Call(ctx, method, path, body, out)
}

type clusterStatusCmd struct {
	adminTarget
	JSON bool `name:"json" help:"As JSON."`
}

func (s *clusterStatusCmd) Run() error {
	var r cluster.Report
	if err := s.call(http.MethodGet, "/v1/status", nil, &r); err != nil {
		return err
	}
	if s.JSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return printReport(os.Stdout, &r)
}

// short is the beginning of a node's ID, which commands take too.
func short(id cluster.NodeID) string { return string(id[:min(len(id), 8)]) }

func printReport(w io.Writer, r *cluster.Report) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format, args...) } // Flush tells
	settled := "settled"
	if !r.Settled {
		settled = "changing"
	}
	p("cluster %s, epoch %d, %d replicas, %s\n\n", r.ClusterID, r.Epoch, r.ReplicationFactor, settled)
	p("NODE\tCLIENTS\tZONE\tSTATE\tANSWERS\tSHARDS\tLEADS\n")
	for _, n := range r.Nodes {
		p("%s\t%s\t%s\t%s\t%s\t%d\t%d\n", short(n.ID), n.Client, orDash(n.Zone), n.State, yes(n.Answers), n.Replicas, n.Leads)
	}
	p("\nSHARD\tSLOTS\tTERM\tREPLICAS (* leads, + votes, - learns, ! missing)\n")
	for _, g := range r.Groups {
		name, slots := strconv.FormatUint(uint64(g.Group), 10), ranges(g.Slots)
		if g.Group == cluster.MetaGroup {
			name, slots = "meta", "-"
		}
		term := strconv.FormatUint(g.Term, 10)
		if g.Leader == "" {
			term = "NO LEADER"
		}
		p("%s\t%s\t%s\t%s\n", name, slots, term, replicas(g.Replicas))
	}
	if len(r.Moves) > 0 {
		p("\nMOVE\tSHARD\tFROM\tTO\tSTEP\tENTRIES BEHIND\n")
	}
	for _, m := range r.Moves {
		p("%d\t%d\t%s\t%s\t%s\t%d\n", m.ID, m.Shard, orDash(short(m.From)), orDash(short(m.To)), m.Step, m.Lag)
	}
	if len(r.Migrations) > 0 {
		p("\nMIGRATION\tFROM\tTO\tSLOTS\tSTATE\tSENT\tTROUBLE\n")
	}
	for _, m := range r.Migrations {
		state := string(m.State)
		if m.Paused {
			state += ", paused"
		}
		p("%d\t%d\t%d\t%s\t%s\t%.1f MB\t%s\n", m.ID, m.From, m.To, ranges(m.Slots), state, float64(m.Sent)/1e6, orDash(m.Trouble))
	}
	return t.Flush()
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// ranges writes slots as 0-99,200.
func ranges(list []cluster.Range) string {
	var out []string
	for _, r := range list {
		if r.From == r.To {
			out = append(out, strconv.Itoa(int(r.From)))
			continue
		}
		out = append(out, fmt.Sprintf("%d-%d", r.From, r.To))
	}
	return orDash(strings.Join(out, ","))
}

// parseRanges reads what ranges writes.
func parseRanges(text string) ([]cluster.Range, error) {
	var out []cluster.Range
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.ParseUint(from, 10, 16)
		b, errB := strconv.ParseUint(to, 10, 16)
		if errA != nil || errB != nil || a > b || b >= cluster.Slots {
			return nil, fmt.Errorf("%q is no range of slots: write 0-99,200", part)
		}
		out = append(out, cluster.Range{From: uint16(a), To: uint16(b)})
	}
	return out, nil
}

func replicas(list []cluster.ReplicaReport) string {
	marks := map[string]string{"leader": "*", "voter": "+", "learner": "-", "missing": "!"}
	var out []string
	for _, r := range list {
		text := short(r.Node) + marks[r.Role]
		if !r.Wanted {
			text += " (leaves)"
		}
		if !r.Answers {
			text += " (silent)"
		}
		if r.Lag > 0 {
			text += fmt.Sprintf(" (%d behind)", r.Lag)
		}
		out = append(out, text)
	}
	return orDash(strings.Join(out, " "))
}

type clusterWaitCmd struct {
	adminTarget
	Voters  int           `help:"How many voters that answer each group has to have, at least." default:"1"`
	Settled bool          `help:"Nothing may be under way either, and every voter has to have caught up."`
	Timeout time.Duration `help:"How long to wait." default:"30s"`
}

func (c *clusterWaitCmd) Run() error {
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	for last := "no answer yet"; ; {
		r, err := client.Status(ctx)
		if err == nil {
			if last = c.lacks(&r); last == "" {
				return nil
			}
		} else if ctx.Err() == nil {
			last = err.Error()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s", c.Timeout, last)
		}
	}
}

// maxBehind is how many entries a voter may be behind that counts as one that has caught up.
const maxBehind = 1000

// behind says which voter could not take the place of another that is lost now; empty: none.
func behind(r *cluster.Report) string {
	for _, g := range r.Groups {
		for _, v := range g.Replicas {
			switch {
			case !v.Votes():
			case !v.Answers:
				return fmt.Sprintf("node %s, which votes in group %d, does not answer", short(v.Node), g.Group)
			case v.Lag > maxBehind:
				return fmt.Sprintf("node %s is %d entries behind in group %d", short(v.Node), v.Lag, g.Group)
			}
		}
	}
	return ""
}

// lacks says what is not yet as it should be; empty: all is.
func (c *clusterWaitCmd) lacks(r *cluster.Report) string {
	for _, g := range r.Groups {
		answer := 0
		for _, v := range g.Replicas {
			if v.Votes() && v.Answers {
				answer++
			}
		}
		switch {
		case g.Leader == "":
			return fmt.Sprintf("group %d has no leader", g.Group)
		case answer < c.Voters:
			return fmt.Sprintf("group %d has %d voters, of which %d answer", g.Group, g.Voters, answer)
		}
	}
	if !c.Settled {
		return ""
	}
	if !r.Settled {
		return "changes are under way"
	}
	return behind(r)
}
