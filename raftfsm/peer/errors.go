package peer

import (
	"errors"
	"fmt"
	"syscall"
)

// Why Dial fails, besides what the network does. All but ErrSecret are said by a peer that has proven itself.
var (
	// ErrSecret says that the two ends do not share the secret, or that the other is no peer at all.
	ErrSecret = errors.New("the peer does not prove that it shares the cluster's secret")
	// ErrOtherCluster says that the peer is a member of another cluster.
	ErrOtherCluster = errors.New("the peer belongs to another cluster")
	// ErrVersion says that no version of the protocol is common to both.
	ErrVersion = errors.New("the peer speaks no version of the protocol that this release speaks")
	// ErrUnknownService says that the peer does not have the service; it may have it later.
	ErrUnknownService = errors.New("the peer does not have the service")
	// ErrNotMember says that one of the two is no member of a cluster yet, and that the service is for members.
	ErrNotMember = errors.New("the service is for members of the cluster only")
	// ErrOtherNode says that another node has come to the address.
	ErrOtherNode = errors.New("another node answers at the address")
	// ErrClosed says that this end's endpoint is closed.
	ErrClosed = errors.New("the endpoint is closed")
)

// refusal turns the peer's verdict into an error; nil for a welcome.
func refusal(self, peer statement) error {
	switch peer.verdict {
	case welcome:
		return nil
	case otherCluster:
		return fmt.Errorf("%w: it is in %q, this node in %q", ErrOtherCluster, peer.cluster, self.cluster)
	case otherVersion:
		return fmt.Errorf("%w: it speaks %d … %d, this node %d … %d", ErrVersion,
			peer.lowest, peer.highest, self.lowest, self.highest)
	case noSuchService:
		return fmt.Errorf("%w: %v", ErrUnknownService, self.service)
	case notMember:
		return fmt.Errorf("%w: its cluster is %q, this node's %q", ErrNotMember, peer.cluster, self.cluster)
	default:
		return fmt.Errorf("the peer refuses the connection, for a reason that this release does not know (%d)", peer.verdict)
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
