package virtionet

import (
	"encoding/binary"
	"math/bits"
)

// Hash types and reports (§5.1.6.4.3).
const (
	hashIPv4   = 1 << 0
	hashTCPv4  = 1 << 1
	hashUDPv4  = 1 << 2
	hashIPv6   = 1 << 3
	hashTCPv6  = 1 << 4
	hashUDPv6  = 1 << 5
	hashIPEx   = 1 << 6
	hashTCPEx  = 1 << 7
	hashUDPEx  = 1 << 8
	hashesAll  = 1<<9 - 1
	maxKey     = 40
	maxIndices = 128

	reportNone    = 0
	reportIPv4    = 1
	reportTCPv4   = 2
	reportUDPv4   = 3
	reportIPv6    = 4
	reportTCPv6   = 5
	reportUDPv6   = 6
	reportIPv6Ex  = 7
	reportTCPv6Ex = 8
	reportUDPv6Ex = 9
)

// steering is how received packets are hashed and which queues they go to. It does not change.
type steering struct {
	types        uint32
	redirect     bool // or they stay where they came
	indices      []uint16
	unclassified int
	key          toeplitz
	pairs        int // that the guest wants used
}

// toeplitz is a key: for each byte of the input what each of its values adds to the hash.
type toeplitz [36][256]uint32

// newToeplitz returns a key; what is missing of it is zeros.
func newToeplitz(key []byte) *toeplitz {
	var k [maxKey]byte
	copy(k[:], key)
	t := &toeplitz{}
	for i := range t {
		window := binary.BigEndian.Uint64(append(append([]byte(nil), k[i:min(i+5, maxKey)]...), 0, 0, 0)[:8])
		for v := range 256 {
			for x := v; x > 0; x &= x - 1 {
				t[i][v] ^= uint32(window >> (32 - (7 - bits.TrailingZeros(uint(x)))))
			}
		}
	}
	return t
}

// hash returns the hash of the inputs in turn.
func (t *toeplitz) hash(inputs ...[]byte) (h uint32) {
	i := 0
	for _, in := range inputs {
		for _, b := range in {
			h ^= t[i][b]
			i++
		}
	}
	return h
}

// parseSteering reads the data of an RSS or hash command: types, the mask of indices, the queue of what has no
// hash, indices, queue pairs, key (§5.1.6.5.5.1, §5.1.6.5.6.4). A steering with a nil table of indices is none.
func parseSteering(b []byte, redirect bool, pairs int) (s *steering, ok bool) {
	le := binary.LittleEndian
	if len(b) < 8 {
		return nil, false
	}
	s = &steering{types: le.Uint32(b) & hashesAll, redirect: redirect, pairs: pairs}
	n := 1
	if redirect {
		n = int(le.Uint16(b[4:])) + 1
		s.unclassified = int(le.Uint16(b[6:]))
	}
	if n&(n-1) != 0 || n > maxIndices || s.unclassified >= pairs || len(b) < 8+2*n+3 {
		return nil, false
	}
	for i := range n {
		index := le.Uint16(b[8+2*i:])
		if redirect && int(index) >= pairs {
			return nil, false
		}
		s.indices = append(s.indices, index)
	}
	b = b[8+2*n:]
	if redirect {
		s.pairs = int(le.Uint16(b))
	}
	size, key := int(b[2]), b[3:]
	if s.pairs == 0 || s.pairs > pairs || size > maxKey || size > len(key) || size == 0 && s.types != 0 {
		return nil, false
	}
	if size == 0 {
		s.indices = nil
	}
	s.key = *newToeplitz(key[:size])
	return s, true
}

// place returns the hash of a frame, of what it is, and the queue pair that it goes to, -1 if any will do.
func (s *steering) place(frame []byte) (pair int, hash uint32, report uint16) {
	hash, report = s.sum(frame)
	switch {
	case !s.redirect:
		return -1, hash, report
	case report == reportNone:
		return s.unclassified, 0, report
	}
	return int(s.indices[int(hash)&(len(s.indices)-1)]), hash, report
}

// sum returns the hash of a frame. Of what there is most of is hashed: ports, then addresses.
func (s *steering) sum(frame []byte) (hash uint32, report uint16) {
	p := dissect(frame)
	has := func(t uint32) bool { return s.types&t != 0 }
	switch {
	case p.version == 4 && p.proto == protoTCP && has(hashTCPv4):
		return s.key.hash(p.src, p.dst, p.ports), reportTCPv4
	case p.version == 4 && p.proto == protoUDP && has(hashUDPv4):
		return s.key.hash(p.src, p.dst, p.ports), reportUDPv4
	case p.version == 4 && has(hashIPv4):
		return s.key.hash(p.src, p.dst), reportIPv4
	case p.version != 6:
		return 0, reportNone
	case p.proto == protoTCP && has(hashTCPEx):
		return s.key.hash(p.home, p.final, p.ports), reportTCPv6Ex
	case p.proto == protoTCP && has(hashTCPv6):
		return s.key.hash(p.src, p.dst, p.ports), reportTCPv6
	case p.proto == protoUDP && has(hashUDPEx):
		return s.key.hash(p.home, p.final, p.ports), reportUDPv6Ex
	case p.proto == protoUDP && has(hashUDPv6):
		return s.key.hash(p.src, p.dst, p.ports), reportUDPv6
	case has(hashIPEx):
		return s.key.hash(p.home, p.final), reportIPv6Ex
	case has(hashIPv6):
		return s.key.hash(p.src, p.dst), reportIPv6
	}
	return 0, reportNone
}
