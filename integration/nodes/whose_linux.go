package nodes

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// whose finds the node that a connection from this machine comes from, or Outside: the system says which socket is at its
// other end, and which sockets a node's process has.
func whose(nodes []*Node, conn *net.TCPConn) (int, error) {
	socket, err := socketOf(conn.RemoteAddr().(*net.TCPAddr), conn.LocalAddr().(*net.TCPAddr))
	if err != nil {
		return Outside, err
	}
	for _, n := range nodes {
		folder := fmt.Sprintf("/proc/%d/fd", n.pid())
		files, err := os.ReadDir(folder)
		if err != nil {
			continue // it runs no more
		}
		for _, f := range files {
			if to, err := os.Readlink(filepath.Join(folder, f.Name())); err == nil && to == socket {
				return n.Index, nil
			}
		}
	}
	return Outside, nil
}

// socketOf is the name of the socket with these addresses: "socket:[inode]".
func socketOf(local, remote *net.TCPAddr) (string, error) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	defer f.Close()
	want := procAddress(local) + " " + procAddress(remote) + " "
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if !strings.Contains(lines.Text(), want) {
			continue
		}
		if fields := strings.Fields(lines.Text()); len(fields) > 9 && fields[9] != "0" {
			return "socket:[" + fields[9] + "]", nil
		}
	}
	return "", errNobodys
}

// procAddress is an address as /proc/net/tcp has it: the IP as the machine stores it, and the port.
func procAddress(a *net.TCPAddr) string {
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(a.IP.To4()), a.Port)
}

const knowsWhose = true
