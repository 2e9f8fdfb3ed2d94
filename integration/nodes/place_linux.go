package nodes

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// place is a network namespace. It has no name: it lives as long as its thread, so nothing of it is left behind however
// the test program ends.
type place struct {
	work chan func()
	done sync.WaitGroup
}

func newPlace() (*place, error) {
	p := &place{work: make(chan func())}
	made := make(chan error)
	p.done.Go(func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		made <- err
		if err != nil {
			return
		}
		for do := range p.work {
			do()
		}
	})
	return p, <-made
}

// run runs do within the namespace. A process that do starts is in it too.
func (p *place) run(do func() error) error {
	result := make(chan error)
	p.work <- func() { result <- do() }
	return <-result
}

func (p *place) close() {
	close(p.work)
	p.done.Wait()
}

// plug makes a network card in the calling thread's namespace whose frames come out of the returned port.
func plug(port int, address string) (io.ReadWriteCloser, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq("larder%d")
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("a network card cannot be made: %w", err), unix.Close(fd))
	}
	card := os.NewFile(uintptr(fd), request.Name())
	mac := macOf(port)
	for _, args := range []string{
		"link set dev lo up",
		"link set dev " + request.Name() + " address " + net.HardwareAddr(mac[:]).String() + " mtu 9000",
		"link set dev " + request.Name() + " up",
		"address add " + address + "/24 dev " + request.Name(),
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("ip %s: %w: %s", args, err, out), card.Close())
		}
	}
	return card, nil
}

// network is a switch with a namespace for every node and a port outside.
type network struct {
	*Switch
	places []*place
	subnet string // "10.x.y."
}

func (n *network) ip(node int) string { return fmt.Sprintf("%s%d", n.subnet, node+2) }

// newNetwork fails where this process may not make namespaces and network cards.
func newNetwork(count int, seed uint64) (_ *network, err error) {
	n := &network{}
	var ports []io.ReadWriteCloser
	defer func() {
		if err != nil {
			for _, port := range ports {
				_ = port.Close()
			}
			n.leave()
		}
	}()
	if n.subnet, err = freeSubnet(); err != nil {
		return nil, err
	}
	outside, err := plug(0, n.ip(Outside))
	if err != nil {
		return nil, err
	}
	ports = append(ports, outside)
	for i := range count {
		p, err := newPlace()
		if err != nil {
			return nil, fmt.Errorf("a network namespace cannot be made: %w", err)
		}
		n.places = append(n.places, p)
		if err := p.run(func() error {
			card, err := plug(i+1, n.ip(i))
			if err == nil {
				ports = append(ports, card)
			}
			return err
		}); err != nil {
			return nil, err
		}
	}
	n.Switch = newSwitch(ports, seed)
	return n, nil
}

func (n *network) leave() {
	for _, p := range n.places {
		p.close()
	}
}

func (n *network) close() {
	n.Switch.close()
	n.leave()
}

// freeSubnet finds a private network that this machine is not part of.
func freeSubnet() (string, error) {
	for range 100 {
		subnet := fmt.Sprintf("10.%d.%d.", 100+rand.IntN(150), rand.IntN(256))
		ours, err := net.InterfaceAddrs()
		if err != nil {
			return "", err
		}
		taken := false
		for _, a := range ours {
			ipnet, ok := a.(*net.IPNet)
			taken = taken || ok && ipnet.Contains(net.ParseIP(subnet+"1"))
		}
		if !taken {
			return subnet, nil
		}
	}
	return "", errors.New("no private network is free")
}
