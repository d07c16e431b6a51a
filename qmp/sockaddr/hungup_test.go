package sockaddr

import (
	"net"
	"testing"
)

func TestHungUp(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		for name, end := range map[string]func(here, there net.Conn){
			"peer":           func(_, there net.Conn) { there.Close() },
			"peer with data": func(_, there net.Conn) { _, _ = there.Write([]byte("last words")); there.Close() },
			"own end":        func(here, _ net.Conn) { here.Close() },
		} {
			t.Run(network+"/"+name, func(t *testing.T) {
				here, there := pair(t, network)
				if _, err := there.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if HungUp(here) {
					t.Error("hung up while both ends are open")
				}
				end(here, there)
				if !HungUp(here) {
					t.Error("not hung up")
				}
			})
		}
	}
	a, b := net.Pipe()
	b.Close()
	if HungUp(a) {
		t.Error("a pipe of Go's can't be asked")
	}
}

// pair returns two ends of a connection that the test closes.
func pair(t *testing.T, network string) (here, there net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = t.TempDir() + "/s"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if there, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	if here, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close() })
	return here, there
}
