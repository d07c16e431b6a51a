package hostfile

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDescriptors has each kind of IO tell by its descriptors that there is something to do:
// a kick, a Wake, a completion.
func TestDescriptors(t *testing.T) {
	for name, cfg := range map[string]Config{"ring": {}, "threads": {Threads: true}} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread() // a ring has one thread that submits
			defer runtime.UnlockOSThread()
			cfg.Path = filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(cfg.Path, make([]byte, 1<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			kick, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(kick)
			q, err := f.NewIO(kick, 8)
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			fds, _, err := q.Descriptors()
			if err != nil {
				t.Fatal(err)
			}
			epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(epoll)
			for _, fd := range fds {
				if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}); err != nil {
					t.Fatal(err)
				}
			}
			completed := 0
			done := func(uint32, int32) { completed++ }
			if err := q.Wait(false, done); err != nil {
				t.Fatal(err)
			}
			told := func(what string) {
				t.Helper()
				for {
					n, err := unix.EpollWait(epoll, make([]unix.EpollEvent, 4), 5000)
					if err == unix.EINTR {
						continue
					}
					if n == 0 || err != nil {
						t.Fatalf("nothing tells of %s: %v", what, err)
					}
					break
				}
				if err := q.Wait(false, done); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				_, _ = unix.Write(kick, []byte{1, 0, 0, 0, 0, 0, 0, 0})
				told("a kick")
				q.Wake()
				told("a wake")
				completed = 0
				if err := q.Submit(OpRead, 0, 0, 4096, [][]byte{make([]byte, 4096)}); err != nil {
					t.Fatal(err)
				}
				if err := q.Wait(false, done); err != nil {
					t.Fatal(err)
				}
				for completed == 0 {
					told("a completion")
				}
			}
		})
	}
}
