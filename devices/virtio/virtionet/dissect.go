package virtionet

import "encoding/binary"

const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	typeQinQ = 0x88a8

	protoTCP = 6
	protoUDP = 17
)

// flow is what a frame's headers say that hashes are made of. home and final are the addresses that
// extension headers of mobile nodes name, or src and dst.
type flow struct {
	version     int  // of IP; 0 is something else
	proto       byte // TCP or UDP if ports is good
	src, dst    []byte
	home, final []byte
	ports       []byte
}

// dissect finds the flow that a frame belongs to.
func dissect(p []byte) (f flow) {
	if len(p) < etherHeader {
		return f
	}
	kind, rest := binary.BigEndian.Uint16(p[12:]), p[etherHeader:]
	for tags := 0; (kind == typeVLAN || kind == typeQinQ) && tags < 2 && len(rest) >= 4; tags++ {
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	switch {
	case kind == typeIPv4 && len(rest) >= 20:
		return dissect4(rest)
	case kind == typeIPv6 && len(rest) >= 40:
		return dissect6(rest)
	}
	return f
}

func dissect4(p []byte) (f flow) {
	size := int(p[0]&0xf) * 4
	if p[0]>>4 != 4 || size < 20 {
		return f
	}
	f.version, f.src, f.dst = 4, p[12:16], p[16:20]
	fragment := binary.BigEndian.Uint16(p[6:])&0x3fff != 0
	if !fragment && len(p) >= size {
		f.transport(p[9], p[size:])
	}
	return f
}

// transport notes the ports.
func (f *flow) transport(proto byte, p []byte) {
	if (proto == protoTCP || proto == protoUDP) && len(p) >= 4 {
		f.proto, f.ports = proto, p[:4]
	}
}

// Extension headers of IPv6 (RFC 8200 §4, RFC 6275 §6).
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60

	routingHome   = 2
	optionPad1    = 0
	optionHome    = 0xc9
	maxExtensions = 8
)

func dissect6(p []byte) (f flow) {
	if p[0]>>4 != 6 {
		return f
	}
	f.version, f.src, f.dst = 6, p[8:24], p[24:40]
	f.home, f.final = f.src, f.dst
	next, rest := p[6], p[40:]
	for range maxExtensions {
		if next != extHopByHop && next != extRouting && next != extDestination {
			break
		}
		if len(rest) < 8 || len(rest) < 8*(int(rest[1])+1) {
			return f
		}
		ext := rest[:8*(int(rest[1])+1)]
		switch {
		case next == extRouting && len(ext) == 24 && ext[2] == routingHome && ext[3] == 1:
			f.final = ext[8:24]
		case next == extDestination:
			f.mobile(ext[2:])
		}
		next, rest = ext[0], rest[len(ext):]
	}
	if next != extFragment {
		f.transport(next, rest)
	}
	return f
}

// mobile looks for a home address among options.
func (f *flow) mobile(options []byte) {
	for len(options) >= 2 {
		if options[0] == optionPad1 {
			options = options[1:]
			continue
		}
		size := 2 + int(options[1])
		if size > len(options) {
			return
		}
		if options[0] == optionHome && size == 18 {
			f.home = options[2:18]
		}
		options = options[size:]
	}
}
