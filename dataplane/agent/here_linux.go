package agent

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// isHere says whether what is sent to an address comes to this machine itself, by the kernel's
// routes. That a socket can have the address does not say it: with net.ipv4.ip_nonlocal_bind,
// as machines of keepalived have it, each socket can have any. Where the kernel cannot be
// asked, or says of loopback that it is elsewhere, it is taken to be here.
func isHere(ip netip.Addr) bool {
	return routedHere(ip) || !routedHere(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}

func routedHere(ip netip.Addr) bool {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	answer := make([]byte, 4096)
	// A question for one route is answered before Sendto returns.
	if unix.Sendto(fd, routeTo(ip), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return true
	}
	n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
	if err != nil {
		return true
	}
	return saysHere(answer[:n])
}

// routeTo asks for the route to an address: struct nlmsghdr, struct rtmsg, and the address as
// an attribute.
func routeTo(ip netip.Addr) []byte {
	raw, family := ip.AsSlice(), byte(unix.AF_INET)
	if ip.Is6() {
		family = unix.AF_INET6
	}
	const head = unix.SizeofNlMsghdr + unix.SizeofRtMsg
	b := make([]byte, head+unix.SizeofRtAttr, head+unix.SizeofRtAttr+len(raw))
	*(*unix.NlMsghdr)(unsafe.Pointer(&b[0])) = unix.NlMsghdr{
		Len: uint32(len(b) + len(raw)), Type: unix.RTM_GETROUTE, Flags: unix.NLM_F_REQUEST, Seq: 1, //nolint:gosec // short
	}
	b[unix.SizeofNlMsghdr], b[unix.SizeofNlMsghdr+1] = family, byte(8*len(raw)) //nolint:gosec // 4 or 16
	binary.NativeEndian.PutUint16(b[head:], uint16(unix.SizeofRtAttr+len(raw))) //nolint:gosec // short
	binary.NativeEndian.PutUint16(b[head+2:], unix.RTA_DST)
	return append(b, raw...)
}

// saysHere reads the answer: a route, or an error, which says that there is none if it is one
// of the network.
func saysHere(answer []byte) bool {
	const kind = unix.SizeofNlMsghdr + 7 // rtm_type
	if len(answer) <= kind {
		return true
	}
	switch binary.NativeEndian.Uint16(answer[4:]) {
	case unix.RTM_NEWROUTE:
		return answer[kind] == unix.RTN_LOCAL
	case unix.NLMSG_ERROR:
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:]))) //nolint:gosec // negative
		return errno != unix.ENETUNREACH && errno != unix.EHOSTUNREACH && errno != unix.EADDRNOTAVAIL
	}
	return true
}
