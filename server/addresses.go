package server

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/larder-db/larder/server/config"
)

// Distances of the default ports from the clients' port.
const (
	clusterPortOffset = 10000
	adminPortOffset   = 1000
)

// addresses are where a node listens for others and how they are told to reach it.
type addresses struct {
	peerBind []string // host:port; none: the port for peers stays closed
	admin    string   // host:port; "": nowhere
	client   string   // as announced
	secure   string   // for clients with TLS, as announced, where client is for those without; "": there is none
	peer     string   // as announced; "": the node cannot have others
}

// derivedPort is a port that may be given as 0, an offset from another, or -1, none; 0 is returned for none.
func derivedPort(given, base, offset int) int {
	switch {
	case given > 0:
		return given
	case given < 0 || base == 0 || base+offset > 65535:
		return 0
	}
	return base + offset
}

// addressesOf works out a node's addresses. toMember is the local address of a connection to a member of the cluster, or
// "": what others reach this node by, unless the configuration says it.
func addressesOf(v *config.Values, toMember string) addresses {
	c := &v.Cluster
	port := derivedPort(c.Port, v.Port, clusterPortOffset)
	a := addresses{}
	if admin := derivedPort(c.AdminPort, v.Port, adminPortOffset); admin > 0 {
		a.admin = net.JoinHostPort(c.AdminBind, strconv.Itoa(admin))
	}
	host := announcedHost(v, toMember)
	clientPort := v.Port
	if clientPort == 0 {
		clientPort = v.TLS.Port
	}
	if c.AnnouncePort > 0 {
		clientPort = c.AnnouncePort
	}
	a.client = net.JoinHostPort(host, strconv.Itoa(clientPort))
	if v.Port != 0 && v.TLS.Port != 0 {
		a.secure = net.JoinHostPort(host, strconv.Itoa(v.TLS.Port))
	}
	if port == 0 {
		return a
	}
	for _, b := range peerHosts(v) {
		if !isGuarded(c) {
			break
		}
		a.peerBind = append(a.peerBind, net.JoinHostPort(b, strconv.Itoa(port)))
	}
	announced := port
	if c.AnnounceBusPort > 0 {
		announced = c.AnnounceBusPort
	}
	a.peer = net.JoinHostPort(host, strconv.Itoa(announced))
	return a
}

// isGuarded says whether the peers' port may be open: who connects has to prove something. Through it all can be done that a
// node can, without a password, so that without a guard it is closed even to this machine.
func isGuarded(c *config.Cluster) bool { return c.Secret != "" || c.TLS }

// mayHavePeers says what is wrong with how the peers' port is guarded, where the configuration asks for it.
func mayHavePeers(v *config.Values) error {
	c, asked := &v.Cluster, ""
	switch {
	case c.Secret != "":
		return nil
	case c.TLS && v.TLS.Port != 0 && v.TLS.AuthClients != config.TLSAuthNo:
		return errors.New("tls-cluster needs cluster-secret, too, where clients have certificates of the same authority " +
			"(tls-auth-clients): else each of them could take part as a node")
	case c.TLS:
		return nil
	case c.Join != "":
		asked = "cluster-join"
	case c.Port > 0:
		asked = "cluster-port"
	default:
		return nil
	}
	return fmt.Errorf("%s needs cluster-secret, the same on all nodes, or tls-cluster: without, whoever reaches the port could do "+
		"all that a node can", asked)
}

// errNoPeers is for a node that has others and cannot reach them.
var errNoPeers = errors.New("this node is one of several and has no cluster port: it needs cluster-secret (or tls-cluster), " +
	"and cluster-port where port is 0")

// peerHosts are the hosts to listen on for peers: those for clients, or loopback alone where the port is closed.
func peerHosts(v *config.Values) (hosts []string) {
	for _, b := range v.Bind {
		switch b = strings.TrimPrefix(b, "-"); {
		case b == "*":
			hosts = append(hosts, "0.0.0.0")
		case b == "::*":
			continue // the peers' port is one of IPv4 unless an address of IPv6 is given
		default:
			hosts = append(hosts, b)
		}
	}
	if isGuarded(&v.Cluster) && len(hosts) > 0 {
		return hosts
	}
	var local []string
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil && ip.IsLoopback() {
			local = append(local, h)
		}
	}
	if len(local) == 0 {
		local = []string{"127.0.0.1"}
	}
	return local
}

// announcedHost is the host that others are told.
func announcedHost(v *config.Values, toMember string) string {
	if v.Cluster.AnnounceIP != "" {
		return v.Cluster.AnnounceIP
	}
	if !isGuarded(&v.Cluster) {
		return peerHosts(v)[0]
	}
	if host, _, err := net.SplitHostPort(toMember); err == nil && listensOn(v, host) {
		return host
	}
	for _, b := range peerHosts(v) {
		if ip := net.ParseIP(b); ip != nil && !ip.IsUnspecified() {
			return b
		}
	}
	if ip := outwardAddress(); ip != "" {
		return ip
	}
	return "127.0.0.1"
}

// listensOn says whether peers who dial that address of this machine find the node.
func listensOn(v *config.Values, host string) bool {
	for _, b := range peerHosts(v) {
		if ip := net.ParseIP(b); b == host || ip != nil && ip.IsUnspecified() {
			return true
		}
	}
	return false
}

// outwardAddress is the first address of this machine that is not loopback.
func outwardAddress() string {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return ""
}
