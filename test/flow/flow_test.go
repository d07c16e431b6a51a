package flow

import (
	"bytes"
	"net"
	"testing"
	"time"
)

func TestCheckFindsEveryByte(t *testing.T) {
	b := make([]byte, 100)
	Fill(b, 7, 16)
	if err := Check(b, 7, 16); err != nil {
		t.Fatal(err)
	}
	if err := Check(b[3:], 7, 19); err != nil {
		t.Errorf("from an odd place: %v", err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if Check(bad, 7, 16) == nil {
			t.Errorf("byte %d may be anything", i)
		}
	}
	if Check(b, 8, 16) == nil || Check(b, 7, 24) == nil {
		t.Error("another stream and place are the same")
	}
}

func TestStream(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answered := make(chan Moved, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		m, err := Answer(c)
		if err != nil {
			t.Error(err)
		}
		answered <- m
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	m, err := Stream(c, 3, 10*time.Millisecond)
	if err != nil || m.Sent == 0 {
		t.Errorf("%+v, %v", m, err)
	}
	if a := <-answered; a.Received != m.Sent || a.Sent != m.Received {
		t.Errorf("%+v here, %+v there", m, a)
	}
}

func TestDatagrams(t *testing.T) {
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { Echo(p); close(done) }()
	c, err := net.Dial("udp", p.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	sent, back, err := Datagrams(c, 100, 10*time.Millisecond)
	if err != nil || back == 0 || back > sent {
		t.Errorf("%d sent, %d back, %v", sent, back, err)
	}
	p.Close()
	<-done
}
