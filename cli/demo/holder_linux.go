package demo

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tcpListen is the state LISTEN in /proc/net/tcp.
const tcpListen = "0A"

// portHolder names the process that listens on the address, or on its port of
// every address. It is empty if the process cannot be found out, for instance
// because it belongs to another user.
func portHolder(address string) string {
	want, err := netip.ParseAddrPort(address)
	if err != nil {
		return ""
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for _, inode := range listeningInodes(data, want) {
			inodes["socket:["+inode+"]"] = true
		}
	}
	if len(inodes) == 0 {
		return ""
	}
	return socketOwner(inodes)
}

// listeningInodes reads a table of /proc/net: the inodes of the sockets that
// listen on the wanted address or on its port of every address.
func listeningInodes(table []byte, want netip.AddrPort) []string {
	var inodes []string
	lines := bufio.NewScanner(bytes.NewReader(table))
	for lines.Scan() {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != tcpListen {
			continue
		}
		local, ok := parseProcAddress(f[1])
		if !ok || local.Port() != want.Port() {
			continue
		}
		if local.Addr() == want.Addr() || local.Addr().IsUnspecified() {
			inodes = append(inodes, f[9])
		}
	}
	return inodes
}

// parseProcAddress reads "0100007F:1F90": 32-bit words in the machine's order,
// which is little-endian wherever this is built for.
func parseProcAddress(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	if !ok || (len(host) != 8 && len(host) != 32) {
		return netip.AddrPort{}, false
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	raw := make([]byte, 0, 16)
	for i := 0; i < len(host); i += 8 {
		word, err := strconv.ParseUint(host[i:i+8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, false
		}
		raw = append(raw, byte(word), byte(word>>8), byte(word>>16), byte(word>>24))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), true
}

// socketOwner finds a process that has one of the sockets open.
func socketOwner(links map[string]bool) string {
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, fd := range fds {
		link, err := os.Readlink(fd)
		if err != nil || !links[link] {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		// comm has 15 bytes only; the command line is whole, but can be empty.
		line, err := os.ReadFile("/proc/" + pid + "/cmdline")
		program, _, _ := strings.Cut(string(line), "\x00")
		if err != nil || program == "" {
			return "process " + pid
		}
		return fmt.Sprintf("%s (process %s)", filepath.Base(program), pid)
	}
	return ""
}
