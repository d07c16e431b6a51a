package virtionet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"

	"hv/devices/virtio/virtiotest"
)

// testKey, and the hashes in the table below, are those by which implementations of RSS are verified.
var testKey, _ = hex.DecodeString("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")

// datagram is a frame from one address and port to another.
func datagram(src, dst string, proto byte, extensions ...byte) []byte {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	f := append(own[:], own[:]...)
	next := proto
	if from.Addr().Is4() {
		f = append(f, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0)
	} else {
		if len(extensions) > 0 {
			next = extensions[0]
			extensions = append([]byte{proto}, extensions[1:]...)
		}
		f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 64)
	}
	f = append(append(f, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	f = append(f, extensions...)
	f = binary.BigEndian.AppendUint16(f, from.Port())
	f = binary.BigEndian.AppendUint16(f, to.Port())
	return append(f, make([]byte, 40)...)
}

func TestHash(t *testing.T) {
	const v4a, v4b = "66.9.149.187:2794", "161.142.100.80:1766"
	const v6a, v6b = "[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766"
	fragment := datagram(v4a, v4b, protoUDP)
	fragment[20] = 0x20
	tagged := datagram(v4a, v4b, protoTCP)
	tagged = append(append(bytes.Clone(tagged[:12]), 0x81, 0, 0, 7), tagged[12:]...)
	home := append([]byte{extDestination, 2, 1, 0, optionHome, 16}, netip.MustParseAddr("3ffe:2501:200:1fff::7").AsSlice()...)
	home = append(home, 0, 0) // two bytes of padding
	final := append([]byte{extRouting, 2, routingHome, 1, 0, 0, 0, 0}, netip.MustParseAddr("3ffe:2501:200:3::1").AsSlice()...)
	for _, c := range []struct {
		what   string
		frame  []byte
		types  uint32
		hash   uint32
		report uint16
	}{
		{"IPv4", datagram(v4a, v4b, protoTCP), hashIPv4, 0x323e8fc2, reportIPv4},
		{"TCP", datagram(v4a, v4b, protoTCP), hashesAll, 0x51ccc178, reportTCPv4},
		{"UDP", datagram(v4a, v4b, protoUDP), hashIPv4 | hashUDPv4, 0x51ccc178, reportUDPv4},
		{"tagged", tagged, hashesAll, 0x51ccc178, reportTCPv4},
		{"fragment", fragment, hashesAll, 0x323e8fc2, reportIPv4},
		{"other protocol", datagram(v4a, v4b, 47), hashesAll, 0x323e8fc2, reportIPv4},
		{"IPv6", datagram(v6a, v6b, protoTCP), hashIPv6, 0x2cc18cd5, reportIPv6},
		{"TCP over IPv6", datagram(v6a, v6b, protoTCP), hashIPv6 | hashTCPv6, 0x40207d3d, reportTCPv6},
		{"UDP over IPv6", datagram(v6a, v6b, protoUDP), hashIPv6 | hashUDPv6, 0x40207d3d, reportUDPv6},
		{"no home", datagram(v6a, v6b, protoTCP), hashesAll, 0x40207d3d, reportTCPv6Ex},
		{"home address", datagram("[::5]:2794", v6b, protoUDP, home...), hashesAll, 0x40207d3d, reportUDPv6Ex},
		{"final address", datagram(v6a, "[::5]:1766", protoTCP, final...), hashesAll, 0x40207d3d, reportTCPv6Ex},
		{"extensions, addresses", datagram(v6a, "[::5]:1766", 50, final...), hashesAll, 0x2cc18cd5, reportIPv6Ex},
		{"no type", datagram(v4a, v4b, protoTCP), hashIPv6, 0, reportNone},
		{"no IP", frame(own, 3), hashesAll, 0, reportNone},
	} {
		s := &steering{types: c.types, key: *newToeplitz(testKey)}
		if hash, report := s.sum(c.frame); hash != c.hash || report != c.report {
			t.Errorf("%s: %#x of kind %d, not %#x of %d", c.what, hash, report, c.hash, c.report)
		}
	}
}

// rssCommand is the data of an RSS command.
func rssCommand(types uint32, unclassified uint16, indices []uint16, pairs uint16, key []byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, types)
	b = le.AppendUint16(b, uint16(len(indices)-1))
	b = le.AppendUint16(b, unclassified)
	for _, i := range indices {
		b = le.AppendUint16(b, i)
	}
	b = le.AppendUint16(b, pairs)
	return append(append(b, byte(len(key))), key...)
}

func TestBadSteering(t *testing.T) {
	good := rssCommand(hashesAll, 0, []uint16{0, 1, 2, 3}, 4, testKey)
	if _, ok := parseSteering(good, true, 4); !ok {
		t.Fatal("a good command was refused")
	}
	for n := range len(good) {
		if _, ok := parseSteering(good[:n], true, 4); ok {
			t.Errorf("the first %d bytes of a command were accepted", n)
		}
	}
	for what, b := range map[string][]byte{
		"three indices": rssCommand(hashesAll, 0, []uint16{0, 1, 2}, 4, testKey),
		"many indices":  rssCommand(hashesAll, 0, make([]uint16, 256), 4, testKey),
		"bad index":     rssCommand(hashesAll, 0, []uint16{4}, 4, testKey),
		"unclassified":  rssCommand(hashesAll, 4, []uint16{0}, 4, testKey),
		"no pairs":      rssCommand(hashesAll, 0, []uint16{0}, 0, testKey),
		"many pairs":    rssCommand(hashesAll, 0, []uint16{0}, 5, testKey),
		"long key":      rssCommand(hashesAll, 0, []uint16{0}, 4, make([]byte, 41)),
		"no key":        rssCommand(hashesAll, 0, []uint16{0}, 4, nil),
	} {
		if _, ok := parseSteering(b, true, 4); ok {
			t.Errorf("%s: accepted", what)
		}
	}
	if s, ok := parseSteering(rssCommand(0, 0, []uint16{0}, 4, nil), true, 4); !ok || s.indices != nil {
		t.Error("a guest cannot end the steering")
	}
}

// rssNIC is a device with RSS and hash reports.
func rssNIC(t testing.TB, queues int, o virtiotest.Options) (*Device, *virtiotest.Driver, *cable) {
	t.Helper()
	return nicWith(t, queues, o, nil, func(c *Config) { c.RSS, c.Hash = true, true })
}

// TestSteering sends packets to the queue that the guest chose for them, whichever they come by.
func TestSteering(t *testing.T) {
	for i, features := range []uint64{^uint64(0), ^uint64(featureHash), ^uint64(featureHash | featureMrgRxBuf | bigPackets)} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dev, d, c := rssNIC(t, 2, virtiotest.Options{Features: features})
			head := int(dev.header())
			command := append([]byte{classMQ, mqRSS}, rssCommand(hashTCPv4, 1, []uint16{1, 0}, 2, testKey)...)
			if answer, _ := d.Send(4, 1, command[:5], command[5:]); answer[0] != ackOK {
				t.Fatal("RSS was refused")
			}
			at := [2]map[uint16]uint64{offer(d, 0, 60, 1600), offer(d, 2, 60, 1600)}
			for n := range 20 {
				p := datagram(fmt.Sprintf("10.0.0.1:%d", n), "10.0.0.2:80", protoTCP)
				if n%5 == 0 {
					p = frame(own, n)
				}
				want, wantReport := 1, uint16(reportNone)
				hash, report := (&steering{types: hashTCPv4, key: *newToeplitz(testKey)}).sum(p)
				if report != reportNone {
					want, wantReport = 1-int(hash&1), reportTCPv4
				}
				c.give(t, n%2, append(make([]byte, headerSize), p...))
				token, written := d.Wait(2 * want)
				got := d.Bytes(at[want][token], int(written))
				if !bytes.Equal(got[head:], p) {
					t.Fatalf("packet %d: %d bytes of %d", n, len(got)-head, len(p))
				}
				if head == wideHeader && (binary.LittleEndian.Uint32(got[12:]) != hash || binary.LittleEndian.Uint16(got[16:]) != wantReport || got[10] != 1) {
					t.Errorf("packet %d has the header % x", n, got[:head])
				}
			}
			out := append(make([]byte, head), datagram("10.0.0.2:80", "10.0.0.1:1", protoTCP)...)
			d.Send(1, 0, out[:5], out[5:18], out[18:])
			if got := c.take(t, 0); !bytes.Equal(got[headerSize:], out[head:]) {
				t.Errorf("sent % x", got)
			}
		})
	}
}

// TestHashOnly reports hashes where there is one queue, and ends when the guest says so.
func TestHashOnly(t *testing.T) {
	_, d, c := rssNIC(t, 1, virtiotest.Options{Features: ^uint64(featureMQ | featureRSS)})
	command := append([]byte{classMQ, mqHash}, rssCommand(hashIPv4, 0, []uint16{0}, 0, testKey)...)
	if answer, _ := d.Send(2, 1, command); answer[0] != ackOK {
		t.Fatal("refused")
	}
	at := offer(d, 0, 60, 1600)
	p := append(make([]byte, headerSize), datagram("66.9.149.187:1", "161.142.100.80:2", protoTCP)...)
	c.give(t, 0, p)
	token, n := d.Wait(0)
	if got := d.Bytes(at[token], int(n)); binary.LittleEndian.Uint32(got[12:]) != 0x323e8fc2 || got[16] != reportIPv4 {
		t.Errorf("header % x", got[:wideHeader])
	}
	command = append([]byte{classMQ, mqHash}, rssCommand(0, 0, []uint16{0}, 0, nil)...)
	if answer, _ := d.Send(2, 1, command); answer[0] != ackOK {
		t.Fatal("refused")
	}
	c.give(t, 0, p)
	token, n = d.Wait(0)
	if got := d.Bytes(at[token], int(n)); got[16] != reportNone || !bytes.Equal(got[wideHeader:], p[headerSize:]) {
		t.Errorf("header % x", got[:wideHeader])
	}
}

// TestFewBuffers: a guest that takes large packets and has room for small ones gets those, and large ones
// wait for room.
func TestFewBuffers(t *testing.T) {
	dev, d, c := nic(t, 1, virtiotest.Options{EventIdx: true}, nil)
	at := offer(d, 0, 2, 1024)
	c.give(t, 0, packet(own, 10))
	d.Wait(0)
	large := packet(own, 5000)
	c.give(t, 0, large)
	for range 3 {
		for token, a := range offer(d, 0, 3, 1024) {
			at[token] = a
		}
	}
	token, n := d.Wait(0)
	if parts := d.Bytes(at[token], int(n))[headerSize-2]; parts != 5 {
		t.Errorf("%d buffers", parts)
	}
	if got := dev.Counters().Rx[0]; got.Packets != 2 || got.Drops != [reasons]uint64{} {
		t.Errorf("counted %+v", got)
	}
}

// TestTooLong drops what does not fit a guest's single buffers.
func TestTooLong(t *testing.T) {
	dev, d, c := nic(t, 1, virtiotest.Options{Features: ^uint64(featureMrgRxBuf | bigPackets)}, nil)
	at := offer(d, 0, 3, 200)
	c.give(t, 0, packet(own, 300))
	c.give(t, 0, packet(own, 20))
	token, n := d.Wait(0)
	if int(n) != len(packet(own, 20)) || d.Bytes(at[token], int(n))[headerSize-2] != 1 {
		t.Errorf("%d bytes", n)
	}
	if got := dev.Counters().Rx[0].Drops[DropTooLong]; got != 1 {
		t.Errorf("%d drops", got)
	}
}

// TestMailbox: a queue for which too many packets wait gets no more.
func TestMailbox(t *testing.T) {
	var m mailbox
	p := &parcel{}
	for i := range boxSize + 1 {
		if first, ok := m.put(p); first != (i == 0) || ok != (i < boxSize) {
			t.Errorf("packet %d: %v, %v", i, first, ok)
		}
	}
	for range boxSize {
		if m.take() == nil {
			t.Fatal("a packet is lost")
		}
	}
	if m.take() != nil {
		t.Error("a packet out of nowhere")
	}
}

func FuzzSteering(f *testing.F) {
	f.Add(rssCommand(hashesAll, 0, []uint16{0, 1, 2, 3}, 4, testKey), datagram("10.0.0.1:1", "10.0.0.2:2", protoUDP))
	f.Add(rssCommand(hashesAll, 3, []uint16{1}, 1, testKey[:1]), datagram("[::1]:1", "[::2]:2", protoTCP, 60, 0, 1, 4, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, command, frame []byte) {
		for _, redirect := range []bool{false, true} {
			s, ok := parseSteering(command, redirect, 4)
			if !ok || s.indices == nil {
				s = &steering{types: hashesAll, redirect: true, indices: []uint16{0, 1, 2, 3}, key: *newToeplitz(command[:min(len(command), maxKey)])}
			}
			if pair, _, _ := s.place(frame); pair < -1 || pair > 3 {
				t.Fatalf("queue pair %d", pair)
			}
		}
	})
}

func BenchmarkHash(b *testing.B) {
	s := &steering{types: hashesAll, redirect: true, indices: []uint16{0, 1}, key: *newToeplitz(testKey)}
	p := datagram("[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", protoTCP)
	b.ReportAllocs()
	for b.Loop() {
		s.place(p)
	}
}
