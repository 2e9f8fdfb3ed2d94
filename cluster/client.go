package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/larder-db/larder/raftfsm"
)

// Dial connects to the control service of the node at a peer address. The connection is authenticated.
type Dial func(ctx context.Context, address string) (net.Conn, error)

// Client calls other nodes over the control API. Its methods may be called by any goroutine.
type Client struct {
	http *http.Client
}

// maxAnswer bounds what a node may answer.
const maxAnswer = 2 * MaxDocument

// NewClient makes a client.
func NewClient(dial Dial) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			c, err := dial(ctx, address)
			if err != nil {
				return nil, unreachable{err}
			}
			return c, nil
		},
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}}}
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// unreachable is an error of Dial: nothing has been sent.
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

// The codes of what went wrong, as they travel.
const (
	codeRefused       = "refused"
	codeRemoved       = "removed"
	codeNotLeader     = "not-leader"
	codeIndeterminate = "indeterminate"
	codeUnavailable   = "unavailable"
	codeInvalid       = "invalid"
	codeBusy          = "busy"
)

// fault is an error on its way.
type fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// encodeFault finds the code of an error, and the HTTP status that fits it.
func encodeFault(err error) (fault, int) {
	f := fault{codeUnavailable, err.Error()}
	switch {
	case errors.Is(err, ErrRemoved):
		f.Code = codeRemoved
		return f, http.StatusConflict
	case errors.Is(err, ErrRefused):
		f.Code = codeRefused
		return f, http.StatusConflict
	case errors.Is(err, raftfsm.ErrIndeterminate):
		f.Code = codeIndeterminate
		return f, http.StatusGatewayTimeout
	case errors.Is(err, raftfsm.ErrNotLeader):
		f.Code = codeNotLeader
		return f, http.StatusMisdirectedRequest
	case errors.Is(err, ErrBusy):
		f.Code = codeBusy
	case errors.Is(err, errInvalid):
		f.Code = codeInvalid
		return f, http.StatusBadRequest
	}
	return f, http.StatusServiceUnavailable
}

// errInvalid is wrapped by errors about requests that make no sense.
var errInvalid = errors.New("malformed request")

// decode is the error again.
func (f fault) decode() error {
	switch f.Code {
	case codeRefused:
		return refusal{f.Message}
	case codeRemoved:
		return removal{refusal{f.Message}}
	case codeBusy:
		return busy{f.Message}
	case codeNotLeader:
		return raftfsm.ErrNotLeader
	case codeIndeterminate:
		return fmt.Errorf("%w: %s", raftfsm.ErrIndeterminate, f.Message)
	}
	return errors.New(f.Message)
}

// call sends a request and reads its answer into out. changes says that the request may change something: then an answer
// that does not come leaves the outcome open.
func (c *Client) call(ctx context.Context, method, address, path string, changes bool, body, out any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode a request to %s: %w", address, err)
		}
	}
	return c.send(ctx, method, address, path, changes, bytes.NewReader(text), out)
}

// send is call with a body that is bytes already.
func (c *Client) send(ctx context.Context, method, address, path string, changes bool, body *bytes.Reader, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, body)
	if err != nil {
		return fmt.Errorf("call node %s: %w", address, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		var u unreachable
		if changes && !errors.As(err, &u) {
			err = fmt.Errorf("%w: %w", raftfsm.ErrIndeterminate, err)
		}
		return fmt.Errorf("call node %s: %w", address, err)
	}
	defer func() { _ = response.Body.Close() }() // what was read is checked
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("it answers with more than %d bytes", maxAnswer)
	}
	if err != nil {
		if changes {
			err = fmt.Errorf("%w: %w", raftfsm.ErrIndeterminate, err)
		}
		return fmt.Errorf("call node %s: %w", address, err)
	}
	if response.StatusCode != http.StatusOK {
		f := fault{Message: fmt.Sprintf("node %s answers %s", address, response.Status)}
		if err := json.Unmarshal(answer, &f); err != nil {
			return errors.New(f.Message)
		}
		return f.decode()
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("answer of node %s: %w", address, err)
	}
	return nil
}

// Pong says who answers.
type Pong struct {
	Node      NodeID `json:"node"`
	ClusterID string `json:"cluster_id,omitempty"`
	// Leads says that the node leads the meta group; Silent is who does not answer it then.
	Leads  bool     `json:"leads,omitempty"`
	Silent []NodeID `json:"silent,omitempty"`
}

// Ping asks who is at an address.
func (c *Client) Ping(ctx context.Context, address string) (p Pong, err error) {
	err = c.call(ctx, http.MethodGet, address, pathPing, false, nil, &p)
	return p, err
}

// Status asks for a node's replicas.
func (c *Client) Status(ctx context.Context, address string) (s NodeStatus, err error) {
	err = c.call(ctx, http.MethodGet, address, pathStatus, false, nil, &s)
	return s, err
}

// do has an Op applied by the node at an address, which has to lead the meta group.
func (c *Client) do(ctx context.Context, address string, o Op) (done opDone, err error) {
	text, err := EncodeOp(o)
	if err != nil {
		return done, err
	}
	err = c.call(ctx, http.MethodPost, address, pathOp, true, json.RawMessage(text), &done)
	return done, err
}

// Transfer asks the node at an address, which leads a group, to hand the leadership on; with "" to the voter that has most of
// the log.
func (c *Client) Transfer(ctx context.Context, address string, group uint32, to NodeID) error {
	return c.call(ctx, http.MethodPost, address, pathTransfer, true, transferRequest{group, to}, &struct{}{})
}

// Joined is what a node learns when it joins: the document has the cluster's ID, the seed and the members.
type Joined struct {
	Document Document `json:"document"`
}

// Join asks any member of a cluster to take a node in, and waits until it is one. clusterID is the cluster that the node
// belongs to already; empty: none. A node that is asked once more changes nothing.
func (c *Client) Join(ctx context.Context, address, clusterID string, self Node) (Document, error) {
	var j Joined
	if err := c.call(ctx, http.MethodPost, address, pathJoin, true, Join{ClusterID: clusterID, Node: self}, &j); err != nil {
		return Document{}, fmt.Errorf("join the cluster of %s: %w", address, err)
	}
	if err := j.Document.Validate(); err != nil {
		return Document{}, fmt.Errorf("join the cluster of %s: it answers with a bad document: %w", address, err)
	}
	return j.Document, nil
}
