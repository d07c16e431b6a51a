package qcow2

import (
	"io"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// fileStorage is a file of the host.
type fileStorage struct{ f *os.File }

func openFile(t testing.TB, path string) fileStorage {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return fileStorage{f}
}

func (s fileStorage) Readv(off int64, v [][]byte) error {
	for _, b := range v {
		n, err := s.f.ReadAt(b, off)
		if err != nil && err != io.EOF {
			return err
		}
		clear(b[n:])
		off += int64(len(b))
	}
	return nil
}

func (s fileStorage) Writev(off int64, v [][]byte) error {
	for _, b := range v {
		if _, err := s.f.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

func (s fileStorage) WriteZeroes(off, n int64, unmap bool) error {
	end := off + n
	if fi, err := s.f.Stat(); err == nil && fi.Size() < end {
		if err := s.f.Truncate(end); err != nil {
			return err
		}
	}
	return s.Discard(off, n)
}

func (s fileStorage) Discard(off, n int64) error {
	return unix.Fallocate(int(s.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}
func (s fileStorage) Flush() error              { return nil }
func (s fileStorage) Truncate(size int64) error { return s.f.Truncate(size) }
func (s fileStorage) Size() int64 {
	fi, err := s.f.Stat()
	if err != nil {
		return 0
	}
	return fi.Size()
}

// memStorage is a file in memory, in pages so that holes cost nothing.
type memStorage struct {
	mu    sync.RWMutex
	pages map[int64]*[4096]byte
	size  int64
}

func newMem(b []byte) *memStorage {
	m := &memStorage{pages: map[int64]*[4096]byte{}}
	if len(b) > 0 {
		_ = m.Writev(0, [][]byte{b})
	}
	return m
}

func (m *memStorage) each(off, n int64, f func(page, at, n int64)) {
	for n > 0 {
		k := min(n, 4096-off%4096)
		f(off/4096, off%4096, k)
		off, n = off+k, n-k
	}
}

func (m *memStorage) Readv(off int64, v [][]byte) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, b := range v {
		clear(b)
		for n := int64(0); n < int64(len(b)); {
			k := min(int64(len(b))-n, 4096-(off+n)%4096)
			if p := m.pages[(off+n)/4096]; p != nil {
				copy(b[n:n+k], p[(off+n)%4096:])
			}
			n += k
		}
		off += int64(len(b))
	}
	return nil
}

func (m *memStorage) Writev(off int64, v [][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range v {
		m.each(off, int64(len(b)), func(page, at, n int64) {
			p := m.pages[page]
			if p == nil {
				p = new([4096]byte)
				m.pages[page] = p
			}
			b = b[copy(p[at:at+n], b):]
			off += n
		})
		m.size = max(m.size, off)
	}
	return nil
}

func (m *memStorage) WriteZeroes(off, n int64, unmap bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.zero(off, n)
	m.size = max(m.size, off+n)
	return nil
}

func (m *memStorage) zero(off, n int64) {
	m.each(off, n, func(page, at, n int64) {
		if p := m.pages[page]; p != nil && n == 4096 {
			delete(m.pages, page)
		} else if p != nil {
			clear(p[at : at+n])
		}
	})
}

func (m *memStorage) Discard(off, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.zero(off, min(n, max(m.size-off, 0)))
	return nil
}
func (m *memStorage) Flush() error { return nil }
func (m *memStorage) Truncate(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.pages {
		if p*4096 >= size {
			delete(m.pages, p)
		}
	}
	if p := m.pages[size/4096]; p != nil {
		clear(p[size%4096:])
	}
	m.size = size
	return nil
}
func (m *memStorage) Size() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.size
}
