package virtionet

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Status bits (§5.1.4).
const (
	statusUp       = 1
	statusAnnounce = 2
)

// status returns what the guest reads of the link.
func (d *Device) status() (s uint16) {
	d.linkMu.Lock()
	defer d.linkMu.Unlock()
	if d.carrier.up() {
		s = statusUp
	}
	if d.carrier.announce {
		s |= statusAnnounce
	}
	return s
}

// Announce tells the network where the NIC is, and asks a guest that knows how to do so to tell it too,
// with all of its addresses (§5.1.6.5.4).
func (d *Device) Announce() {
	d.linkMu.Lock()
	if d.link != nil && d.carrier.up() {
		if fd := d.link.QueueFD(0); fd >= 0 {
			p := announcement(MAC(d.cfg.MAC))
			_, _ = unix.Write(fd, p[:]) // as any packet, it may be lost
		}
	}
	ask := d.announces
	if a, ok := d.link.(announcer); ok && !ask {
		_ = a.Announce(MAC(d.cfg.MAC)) // the same
	}
	d.linkMu.Unlock()
	if ask {
		d.setStatus(func(s *carrier) { s.announce = true })
		d.ConfigChanged()
	}
}

// acknowledge is the guest's word that it has announced itself. It was not asked for when it reports false.
func (d *Device) acknowledge() (asked bool) {
	d.setStatus(func(s *carrier) { asked, s.announce = s.announce, false })
	return asked
}

// announcement is a reverse ARP request for the own address (RFC 903), of the least size that frames have,
// behind its header.
func announcement(mac MAC) (p [headerSize + 60]byte) {
	const (
		typeRARP = 0x8035
		ether    = 1
		typeIPv4 = 0x0800
		request  = 3
	)
	f := p[headerSize:]
	copy(f, broadcast[:])
	copy(f[6:], mac[:])
	be := binary.BigEndian
	be.PutUint16(f[12:], typeRARP)
	be.PutUint16(f[14:], ether)
	be.PutUint16(f[16:], typeIPv4)
	f[18], f[19] = 6, 4
	be.PutUint16(f[20:], request)
	copy(f[22:], mac[:])
	copy(f[32:], mac[:])
	return p
}
