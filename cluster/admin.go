package cluster

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/larder-db/larder/raftfsm"
)

// AdminOptions are what the administrators' HTTP API works with.
type AdminOptions struct {
	Self     NodeID
	Meta     *Meta
	Client   *Client
	Replicas Replicas
	Drives   func() map[uint64]Drive // as in ControlOptions
	// Token has to be shown as a bearer token; empty: none is asked for.
	Token   string
	Release string
	Clock   func() time.Time
	// Patience bounds how long other nodes are waited for in a survey, and Wait how long for a change to be made.
	Patience, Wait time.Duration
}

// EnsureDefaults fills in what was left out.
func (o *AdminOptions) EnsureDefaults() {
	if o.Patience == 0 {
		o.Patience = 2 * time.Second
	}
	if o.Wait == 0 {
		o.Wait = 15 * time.Second
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
}

// Validate reports every fault at once.
func (o *AdminOptions) Validate() error {
	var f faults
	f.check(isHexID(string(o.Self)), "cluster options: Self is no node's ID")
	f.check(o.Meta != nil, "cluster options: no Meta")
	f.check(o.Client != nil, "cluster options: no Client")
	f.check(o.Replicas != nil, "cluster options: no Replicas")
	return errors.Join(f...)
}

// Admin is the handler of the administrators' HTTP API. Its description is at /openapi.json.
func Admin(o AdminOptions) (http.Handler, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Larder's cluster", o.Release)
	config.DocsPath, config.SchemasPath = "", "" // the page of documentation would load scripts from elsewhere
	config.CreateHooks = nil
	a := admin{o, humago.New(mux, config)}
	a.registerViews()
	a.registerNodes()
	a.registerShards()
	a.registerMoves()
	a.registerMigrations()
	return a.guard(mux), nil
}

type admin struct {
	AdminOptions
	api huma.API
}

// guard lets those in who show the token. Where none is asked for, pages in a browser are kept out all the same: they
// could reach the loopback address, be it by a name of their own that leads there.
func (a admin) guard(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(a.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.Token == "" {
			if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
				http.Error(w, "not for browsers unless admin-token is set", http.StatusForbidden)
				return
			}
			if !isLoopbackHost(r.Host) {
				http.Error(w, "to be called by a loopback address unless admin-token is set", http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(shown))
		if !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the admin-token is asked for", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopbackHost says whether a request names this machine, with or without a port, by an address or a name that nobody
// else can lead elsewhere.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// body is an answer.
type body[T any] struct{ Body T }

// Accepted answers a request for a change: the change is decided, and under way if it takes its time.
type Accepted struct {
	Version uint64 `json:"version" doc:"Of the cluster's document that shows the change"`
	ID      uint64 `json:"id,omitempty" doc:"Of the move or the migration"`
}

// register adds an operation.
func register[I, O any](a admin, method, path, id, summary string, do func(context.Context, *I) (*O, error)) {
	huma.Register(a.api, huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary}, do)
}

// begin has an Op applied that begins something.
func (a admin) begin(ctx context.Context, o Op) (*body[Accepted], error) {
	ctx, cancel := context.WithTimeout(ctx, a.Wait)
	defer cancel()
	v, id, err := a.Meta.Begin(ctx, o)
	if err != nil {
		return nil, adminError(err)
	}
	return &body[Accepted]{Accepted{v.Document.Version, id}}, nil
}

// adminError is an error with its HTTP status.
func adminError(err error) error {
	_, status := encodeFault(err)
	if errors.Is(err, raftfsm.ErrNotLeader) {
		status = http.StatusServiceUnavailable
	}
	return huma.NewError(status, err.Error())
}

// change answers a request that is one Op.
func (a admin) change(ctx context.Context, o Op) (*body[Accepted], error) {
	done, err := a.begin(ctx, o)
	if err == nil {
		done.Body.ID = 0
	}
	return done, err
}

// view is the document here.
func (a admin) view() (*View, error) {
	if v := a.Meta.View(); v != nil {
		return v, nil
	}
	return nil, adminError(ErrNoDocument)
}

// node finds a node by what the request calls it.
func (a admin) node(text string) (NodeID, error) {
	v, err := a.view()
	if err != nil {
		return "", err
	}
	id, err := v.Document.FindNode(text)
	if err != nil {
		return "", huma.NewError(http.StatusNotFound, err.Error())
	}
	return id, nil
}

func (a admin) survey(ctx context.Context) (*Report, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	local := func() NodeStatus { return localStatus(a.Self, a.Meta, a.Replicas, a.Drives) }
	r := Survey(ctx, v, a.Self, local, a.Client, a.Patience)
	return &r, nil
}

type nothing struct{}

func (a admin) registerViews() {
	register(a, http.MethodGet, "/v1/status", "status", "The whole cluster", func(ctx context.Context, _ *nothing) (*body[Report], error) {
		r, err := a.survey(ctx)
		if err != nil {
			return nil, err
		}
		return &body[Report]{*r}, nil
	})
	register(a, http.MethodPost, "/v1/rebalance", "rebalance", "Place all shards by the ring, those placed by hand too",
		func(ctx context.Context, _ *nothing) (*body[Accepted], error) { return a.change(ctx, &Rebalance{}) })
	register(a, http.MethodPut, "/v1/replication-factor", "set-replication-factor", "Set how many replicas shards have",
		func(ctx context.Context, in *body[SetReplicationFactor]) (*body[Accepted], error) {
			return a.change(ctx, &in.Body)
		})
}

// nodePath names a node in the path: by its ID, the beginning of it, or an address.
type nodePath struct {
	Node string `path:"node" doc:"ID, the beginning of one, or an address"`
}

func (a admin) registerNodes() {
	register(a, http.MethodGet, "/v1/nodes", "list-nodes", "The nodes", func(ctx context.Context, _ *nothing) (*body[[]NodeReport], error) {
		r, err := a.survey(ctx)
		if err != nil {
			return nil, err
		}
		return &body[[]NodeReport]{r.Nodes}, nil
	})
	about := func(op func(NodeID) Op) func(context.Context, *nodePath) (*body[Accepted], error) {
		return func(ctx context.Context, in *nodePath) (*body[Accepted], error) {
			id, err := a.node(in.Node)
			if err != nil {
				return nil, err
			}
			return a.change(ctx, op(id))
		}
	}
	register(a, http.MethodPost, "/v1/nodes/{node}/drain", "drain-node", "Move a node's replicas to others",
		about(func(id NodeID) Op { return &Drain{id} }))
	register(a, http.MethodPost, "/v1/nodes/{node}/undrain", "undrain-node", "Take a drained node into use again",
		about(func(id NodeID) Op { return &Undrain{id} }))
	register(a, http.MethodDelete, "/v1/nodes/{node}", "remove-node", "Remove a node that has no replicas any more",
		about(func(id NodeID) Op { return &Remove{id} }))
}

type shardPath struct {
	Shard uint32 `path:"shard"`
}

type leaderInput struct {
	Shard uint32 `path:"shard"`
	Body  struct {
		Node string `json:"node" doc:"ID, the beginning of one, or an address"`
	}
}

func (a admin) registerShards() {
	register(a, http.MethodGet, "/v1/shards", "list-shards", "The shards", func(ctx context.Context, _ *nothing) (*body[[]GroupReport], error) {
		r, err := a.survey(ctx)
		if err != nil {
			return nil, err
		}
		return &body[[]GroupReport]{r.Groups[1:]}, nil
	})
	register(a, http.MethodPost, "/v1/shards", "add-shards", "Add shards, without slots",
		func(ctx context.Context, in *body[AddShards]) (*body[Accepted], error) {
			return a.change(ctx, &in.Body)
		})
	register(a, http.MethodDelete, "/v1/shards/{shard}", "remove-shard", "Remove a shard that owns no slots",
		func(ctx context.Context, in *shardPath) (*body[Accepted], error) {
			return a.change(ctx, &RemoveShard{in.Shard})
		})
	register(a, http.MethodPut, "/v1/shards/{shard}/leader", "prefer-leader", "Have a voter lead a shard",
		func(ctx context.Context, in *leaderInput) (*body[Accepted], error) {
			id, err := a.node(in.Body.Node)
			if err != nil {
				return nil, err
			}
			return a.change(ctx, &PreferLeader{in.Shard, id})
		})
}
