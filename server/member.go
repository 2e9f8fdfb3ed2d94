package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/raftfsm/peer"
	"github.com/larder-db/larder/server/config"
)

// member is this node as part of its cluster: who it is, how it talks to the others, and its replica of the meta group,
// whose document says which shards are to be open here (replicas.go).
type member struct {
	node     *node
	id       nodeIdentity
	cluster  atomic.Pointer[string] // id.Cluster, for other goroutines
	at       addresses
	endpoint *peer.Endpoint // nil: the node can have no others
	control  *http.Server
	admin    *http.Server
	client   *cluster.Client
	system   atomic.Pointer[shard] // the replica of the meta group
	meta     atomic.Pointer[cluster.Meta]
	agent    *cluster.Agent
	told     atomic.Pointer[[]cluster.NodeID] // who is silent (hearing.go)
	joined   *cluster.View                    // as the cluster said when it took this node in

	founding sync.Map // shards that this node has founded and the document does not say so yet, by number
	stop     context.CancelFunc
	running  sync.WaitGroup

	following sync.WaitGroup // follow, which opens and closes shards

	migrations migrations
}

// loops of this node that are none of the server's event loops, in the origin of entries.
const (
	metaLoop      = 1<<32 - 2
	migrationLoop = 1<<32 - 3
)

// joinPause is how long a node waits before it asks again to be taken in.
const joinPause = 500 * time.Millisecond

// documentPatience is how long a member that starts waits for the document before it takes clients, whom it could tell
// nothing. It is longer than an election takes.
const documentPatience = 3 * time.Second

// maxStrangers is after how many vain proofs of the secret it gives up.
const maxStrangers = 5

// openMember has the node join its cluster, or found one, and opens the meta group. What the document asks for is open
// when it returns, as far as this node knows the document.
func (n *node) openMember(ctx context.Context) error {
	m := &member{node: n}
	m.migrations.member = m
	n.member = m
	v := n.config.Load()
	if err := mayHavePeers(v); err != nil {
		return err
	}
	known, err := m.identify(v)
	if err != nil {
		return err
	}
	clusterID := m.id.Cluster
	m.cluster.Store(&clusterID)
	m.at = addressesOf(v, "")
	if m.id.Cluster == "" {
		m.at = addressesOf(v, localAddress(v.Cluster.Join))
	}
	if err := m.listen(v); err != nil {
		return err
	}
	if m.id.Cluster == "" {
		if err := m.join(ctx, v); err != nil {
			return err
		}
	}
	if err := m.openMeta(ctx, v); err != nil {
		return err
	}
	if err := m.settleFirst(ctx); err != nil {
		return err
	}
	return m.start(known)
}

// identify reads or decides who this node is. known says that it was decided at an earlier start.
func (m *member) identify(v *config.Values) (known bool, err error) {
	if m.id, known, err = loadIdentity(v.Dir); err != nil {
		return known, err
	}
	joins := v.Cluster.Join != ""
	switch {
	case m.id.Recovering:
		return known, errors.New("a recovery of this node was begun and has not ended: run larder cluster recover again")
	case known && m.id.Cluster == "" && !joins:
		return known, errors.New("this folder was about to join a cluster: give cluster-join again, or remove it")
	case known:
		if joins && m.id.Cluster != "" {
			m.node.log.Info("cluster-join has no effect: this node is a member of its cluster", "cluster", m.id.Cluster)
		}
		return known, nil
	}
	if !joins && v.Cluster.Shards > 1 && !v.Cluster.Enabled {
		return known, errors.New("more than one shard needs cluster-enabled yes: clients have to know the map")
	}
	m.id = nodeIdentity{Node: randomHex()}
	if !joins {
		m.id.Cluster, m.id.Seed, m.id.Founder = randomHex(), rand.Uint64(), true
	}
	return known, m.id.save(v.Dir)
}

// localAddress is the address from which this machine reaches another, or "" if it does not.
func localAddress(to string) string {
	if to == "" {
		return ""
	}
	c, err := net.Dial("udp", to) // sends nothing
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().String()
}

// listen opens the port for other nodes and serves the control API on it.
func (m *member) listen(v *config.Values) error {
	if len(m.at.peerBind) > 0 {
		hosts, port := splitBinds(m.at.peerBind)
		secure, err := peerTLS(v)
		if err != nil {
			return err
		}
		m.endpoint, err = peer.Listen(peer.Options{
			Bind: hosts, Port: port, Secret: v.Cluster.Secret, TLS: secure,
			NodeID:    func() string { return m.id.Node },
			ClusterID: func() string { return *m.cluster.Load() },
			Logger:    m.node.log,
		})
		if err != nil {
			m.endpoint = nil
			return err
		}
	}
	m.client = cluster.NewClient(func(ctx context.Context, address string) (net.Conn, error) {
		if m.endpoint == nil {
			return nil, errors.New("this node has no cluster port")
		}
		return m.endpoint.Dial(ctx, address, peer.Service{Kind: peer.Control})
	})
	if m.endpoint == nil {
		return nil
	}
	m.control = &http.Server{Handler: cluster.Control(cluster.ControlOptions{
		Self: cluster.NodeID(m.id.Node), Meta: m.meta.Load, Replicas: m.replicas, Log: m.localLog, Drives: m.drives, Silent: m.unheard,
	}), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	on := m.endpoint.Serve(peer.Service{Kind: peer.Control})
	m.running.Go(func() {
		if err := m.control.Serve(on); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			m.node.log.Error("the control API has ended", "error", err)
		}
	})
	return nil
}

func splitBinds(list []string) (hosts []string, port int) {
	for _, a := range list {
		host, p, _ := net.SplitHostPort(a) // made by JoinHostPort
		hosts = append(hosts, host)
		port, _ = strconv.Atoi(p)
	}
	return hosts, port
}

// self is this node as the document has it.
func (m *member) self() cluster.Node {
	v := m.node.config.Load()
	peerAddress := m.at.peer
	if peerAddress == "" {
		peerAddress = m.at.client
	}
	admin := m.at.admin
	return cluster.Node{
		ID: cluster.NodeID(m.id.Node), Client: m.at.client, Secure: m.at.secure, Peer: peerAddress, Admin: admin, Zone: v.Cluster.Zone,
		Release: Version, FeatureLevel: engine.FeatureLevel, State: cluster.NodeUp,
	}
}

// join asks until the cluster has taken this node in, or refuses.
func (m *member) join(ctx context.Context, v *config.Values) error {
	if m.endpoint == nil {
		return errors.New("a node without a cluster port cannot join a cluster")
	}
	told := ""
	for strangers := 0; ; {
		d, err := m.joinOnce(ctx, v)
		if err == nil {
			m.id.Cluster, m.id.Seed = d.ClusterID, d.Seed // what the endpoint says of this node stays as it is
			m.cluster.Store(&d.ClusterID)
			m.joined = cluster.NewView(&d)
			m.id.Members = m.known(m.joined)
			m.node.log.Info("joined the cluster", "cluster", d.ClusterID, "node", m.id.Node, "nodes", len(d.Nodes))
			return m.id.save(v.Dir)
		}
		if errors.Is(err, peer.ErrSecret) {
			strangers++ // a member that is about to end looks the same, for a moment
		}
		if errors.Is(err, cluster.ErrRefused) || errors.Is(err, peer.ErrVersion) || errors.Is(err, peer.ErrOtherCluster) || strangers == maxStrangers {
			return fmt.Errorf("cannot join the cluster of %s: %w", v.Cluster.Join, err)
		}
		if err.Error() != told {
			told = err.Error()
			m.node.log.Warn("waiting to join the cluster", "member", v.Cluster.Join, "error", err)
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return fmt.Errorf("cannot join the cluster of %s: %w", v.Cluster.Join, err)
		}
	}
}

func (m *member) joinOnce(ctx context.Context, v *config.Values) (cluster.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var own []tls.Certificate
	if v.TLS.CertFile != "" && v.TLS.KeyFile != "" {
		cert, err := serverCertificate(v.TLS)
		if err != nil {
			return cluster.Document{}, fmt.Errorf("tls-cert-file and tls-key-file cannot be used: %w", err)
		}
		own = append(own, cert)
	}
	address, _, err := Where(ctx, v.Cluster.Join, own...)
	if err == nil && address == "" {
		err = errors.New("it has no cluster port: it needs cluster-secret, the same as here")
	}
	if err != nil {
		return cluster.Document{}, err
	}
	return m.client.Join(ctx, address, "", m.self())
}

// openMeta opens this node's replica of the meta group and follows the document. A founder writes the first one.
func (m *member) openMeta(ctx context.Context, v *config.Values) error {
	var first []raft.Server
	if m.id.Founder {
		first = []raft.Server{{ID: raft.ServerID(m.id.Node), Address: raft.ServerAddress(m.self().Peer)}}
	}
	o := shardOptions{id: cluster.MetaGroup, folder: "meta", system: true, self: raft.ServerID(m.id.Node), bootstrap: first, seed: m.seed}
	m.connect(&o)
	sh, err := m.node.openShard(o)
	if err != nil {
		return err
	}
	m.system.Store(sh)
	sh.engine.Store().AllowCompactions()
	meta, err := cluster.OpenMeta(cluster.MetaOptions{
		Self: cluster.NodeID(m.id.Node), Group: sh.group, Engine: sh.engine, Client: m.client, Loop: metaLoop, Logger: m.node.log,
	})
	if err != nil {
		return err
	}
	m.meta.Store(meta)
	sh.engine.Keys().Observe(documentChanges{meta})
	if m.endpoint == nil && len(sh.group.Stats().Servers) > 1 {
		return errNoPeers
	}
	if !sh.group.IsSoleVoter() { // the others say what this node has missed
		if m.joined == nil {
			_, _ = meta.Wait(shortly(ctx, documentPatience), func(*cluster.View) bool { return true }) // it serves without, too
		}
		return nil
	}
	if err := sh.group.WaitReady(ctx); err != nil {
		return err
	}
	if _, err := meta.Wait(shortly(ctx, 20*time.Millisecond), func(*cluster.View) bool { return true }); err == nil {
		return nil // it was in the log
	}
	if !m.id.Founder {
		return nil // it is about to arrive
	}
	d, err := cluster.Found(m.id.Cluster, m.id.Seed, m.self(), v.Cluster.Shards, v.Cluster.Replicas)
	if err != nil {
		return err
	}
	if err := meta.Found(ctx, d); err != nil && !errors.Is(err, cluster.ErrRefused) {
		return fmt.Errorf("the cluster cannot be founded: %w", err)
	}
	_, err = meta.Wait(ctx, func(*cluster.View) bool { return true })
	return err
}

// documentChanges tells the document's follower of what is applied to it. It implements keyspace.Observer.
type documentChanges struct{ meta *cluster.Meta }

func (c documentChanges) Touched(int, []byte)              { c.meta.Poke() }
func (c documentChanges) Reaped(int, []byte)               {}
func (c documentChanges) Flushing(int, keyspace.Look)      {}
func (c documentChanges) Swapping(int, int, keyspace.Look) {}

// shortly is ctx for a moment; it needs no cancel, since it ends by itself at once.
func shortly(ctx context.Context, d time.Duration) context.Context {
	short, cancel := context.WithTimeout(ctx, d)
	context.AfterFunc(short, cancel)
	return short
}

func (m *member) seed() uint64 { return m.id.Seed }

// connect gives a shard its ways to the other nodes.
func (m *member) connect(o *shardOptions) {
	address := raft.ServerAddress(m.self().Peer)
	if m.endpoint == nil {
		o.transport = raftfsm.NewLoopback(address)
		return
	}
	o.transport = raftfsm.NewNetwork(raftfsm.NetworkOptions{
		Endpoint: m.endpoint, Group: o.id, Address: address, Resolve: m.resolve, Logger: m.node.log,
	})
	o.snapshots = raftfsm.DialSnapshots(m.endpoint, o.id, m.resolve)
	o.incoming = m.endpoint.Serve(peer.Service{Kind: peer.Snapshot, Group: o.id})
}

// disconnect undoes connect, for a shard that was not opened. The transport may have been closed already.
func (o *shardOptions) disconnect() {
	if c, ok := o.transport.(io.Closer); ok {
		_ = c.Close()
	}
	if o.incoming != nil {
		_ = o.incoming.Close()
	}
}

// resolve is where a node is, by the document.
func (m *member) resolve(id raft.ServerID) raft.ServerAddress {
	if v := m.view(); v != nil {
		return raft.ServerAddress(v.Address(cluster.NodeID(id)))
	}
	return ""
}

// view is the document as this node knows it; nil: not at all.
func (m *member) view() *cluster.View {
	if meta := m.meta.Load(); meta != nil {
		if v := meta.View(); v != nil {
			return v
		}
	}
	return m.joined
}

// replicas lists what is open here, for the others and for the agent.
func (m *member) replicas() map[uint32]cluster.Replica {
	list := map[uint32]cluster.Replica{}
	if system := m.system.Load(); system != nil {
		list[cluster.MetaGroup] = system.group
	}
	for _, sh := range m.node.local() {
		list[sh.id] = sh.group
	}
	return list
}

// start begins what goes on in the background.
func (m *member) start(known bool) (err error) {
	meta := m.meta.Load()
	m.agent, err = cluster.StartAgent(cluster.AgentOptions{
		Self: cluster.NodeID(m.id.Node), Meta: meta, Client: m.client, Replicas: m.replicas,
		ReplaceAfter: func() time.Duration { return m.node.config.Load().Cluster.ReplaceAfter },
		Clock:        time.Now, Logger: m.node.log,
	})
	if err != nil {
		return err
	}
	if err := m.openAdmin(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.following.Go(func() { m.follow(ctx) })
	m.following.Go(func() { m.route(ctx) })
	if m.endpoint != nil {
		m.running.Go(func() { m.askStanding(ctx) })
		m.running.Go(func() { m.hear(ctx) })
	}
	m.running.Go(func() { m.migrate(ctx) })
	if known {
		m.running.Go(func() { m.announce(ctx) })
	}
	return nil
}

// openAdmin serves the administrators' API. Where nobody asked for its port, a node does without if it is taken.
func (m *member) openAdmin() error {
	v := m.node.config.Load()
	if m.at.admin == "" {
		return nil
	}
	if host, _, _ := net.SplitHostPort(m.at.admin); v.Cluster.AdminToken == "" && !isLoopback(host) {
		return errors.New("admin-bind other than loopback needs an admin-token")
	}
	handler, err := cluster.Admin(cluster.AdminOptions{
		Self: cluster.NodeID(m.id.Node), Meta: m.meta.Load(), Client: m.client, Replicas: m.replicas, Drives: m.drives,
		Token: v.Cluster.AdminToken, Release: Version, Clock: time.Now,
	})
	if err != nil {
		return err
	}
	on, err := net.Listen("tcp", m.at.admin)
	if err != nil {
		if v.Cluster.AdminPort > 0 {
			return fmt.Errorf("the admin API cannot listen: %w", err)
		}
		m.node.log.Warn("there is no admin API: its port cannot be opened; set admin-port, or -1 for none", "error", err)
		m.at.admin = ""
		return nil
	}
	m.admin = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	m.running.Go(func() {
		if err := m.admin.Serve(on); !errors.Is(err, http.ErrServerClosed) {
			m.node.log.Error("the admin API has ended", "error", err)
		}
	})
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// announce tells the cluster where this node is now, if the document says something else. A refusal need not last: the
// member that has the address may have moved and not told yet, or be gone soon.
func (m *member) announce(ctx context.Context) {
	meta := m.meta.Load()
	told := ""
	for ctx.Err() == nil {
		v := meta.View()
		self := m.self()
		if v != nil {
			if there := v.Node(self.ID); there != nil {
				self.State = there.State
				if *there == self {
					return
				}
			}
			_, err := meta.Do(shortly(ctx, 10*time.Second), cluster.Join{ClusterID: m.id.Cluster, Node: self})
			if errors.Is(err, cluster.ErrRemoved) {
				m.node.fatal(err)
				return
			}
			if errors.Is(err, cluster.ErrRefused) && err.Error() != told {
				told = err.Error()
				m.node.log.Error("the cluster does not take this node's addresses or release; it is asked again", "error", err)
			}
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
		}
	}
}

// close ends everything that is the member's own; the shards are the node's.
func (m *member) close() {
	if m.stop != nil {
		m.stop()
	}
	if m.agent != nil {
		m.agent.Close()
	}
	if meta := m.meta.Load(); meta != nil {
		meta.Close()
	}
	for _, api := range []*http.Server{m.control, m.admin} {
		if api != nil {
			_ = api.Close() // it only ends connections
		}
	}
	m.following.Wait()
	m.running.Wait()
	if m.client != nil {
		m.client.Close()
	}
}

// closeEndpoint is the last step, once all groups are closed.
func (m *member) closeEndpoint() error {
	if m.endpoint == nil {
		return nil
	}
	return m.endpoint.Close()
}

// folderOf is where a shard's store is.
func (m *member) folderOf(id uint32) string {
	return filepath.Join(m.node.config.Load().Dir, shardFolder(id))
}

func shardFolder(id uint32) string { return "shard-" + strconv.FormatUint(uint64(id), 10) }

// leftShards lists the shards that have a folder here.
func (m *member) leftShards() (ids []uint32, err error) {
	entries, err := os.ReadDir(m.node.config.Load().Dir)
	if err != nil {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), "shard-"); ok && e.IsDir() {
			if id, err := strconv.ParseUint(number, 10, 32); err == nil && id > 0 {
				ids = append(ids, uint32(id))
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}
