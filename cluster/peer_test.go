package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/raftfsm/peer"
)

// TestControlOverPeers: the control API over authenticated connections; who does not know the secret gets nothing, and
// nothing that he asks for is of unknown outcome.
func TestControlOverPeers(t *testing.T) {
	listen := func(n int, secret string) (*peer.Endpoint, *Client) {
		e, err := peer.Listen(peer.Options{
			Bind: []string{"127.0.0.1"}, Secret: secret,
			NodeID: func() string { return string(id(n)) }, ClusterID: func() string { return "" },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		c := NewClient(func(ctx context.Context, address string) (net.Conn, error) {
			return e.Dial(ctx, address, peer.Service{Kind: peer.Control})
		})
		t.Cleanup(c.Close)
		return e, c
	}
	e, _ := listen(1, "secret")
	handler := Control(ControlOptions{
		Self: id(1), Meta: func() *Meta { return nil }, Replicas: func() map[uint32]Replica { return nil },
	})
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	served := make(chan error, 1)
	l := e.Serve(peer.Service{Kind: peer.Control})
	go func() { served <- server.Serve(l) }()
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	ctx := context.Background()
	_, friend := listen(2, "secret")
	if p, err := friend.Ping(ctx, e.Addr().String()); err != nil || p.Node != id(1) {
		t.Errorf("%v %+v", err, p)
	}
	if _, err := friend.Join(ctx, e.Addr().String(), "", aNode(2, "")); err == nil || errors.Is(err, raftfsm.ErrIndeterminate) {
		t.Errorf("joining by one who is no member: %v", err)
	}
	_, stranger := listen(3, "guess")
	if _, err := stranger.Join(ctx, e.Addr().String(), "", aNode(3, "")); !errors.Is(err, peer.ErrSecret) || errors.Is(err, raftfsm.ErrIndeterminate) {
		t.Errorf("with a wrong secret: %v", err)
	}
}
