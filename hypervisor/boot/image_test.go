package boot

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		data []byte
		kind Kind
		text string
	}{
		{synthBzImage(payload(4096)), BzImage, "bzImage"},
		{goodELF(elfClass64), PVH, "PVH ELF"},
		{goodELF(elfClass32), PVH, "PVH ELF"},
	} {
		img, err := OpenBytes("k", c.data)
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		if img.Kind() != c.kind || img.Kind().String() != c.text || img.Name() != "k" {
			t.Errorf("%s is %v called %q", c.text, img.Kind(), img.Name())
		}
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	arm := make([]byte, 4096)
	copy(arm[0x38:], "ARMd")
	for name, data := range map[string][]byte{
		"empty": {}, "text": []byte("#!/bin/sh\n"), "gzip": {0x1f, 0x8b, 8, 0}, "arm64": arm, "zeroes": make([]byte, 1<<16),
	} {
		_, err := OpenBytes(name, data)
		if err == nil || !strings.Contains(err.Error(), "kernel "+name+": neither a Linux bzImage") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vmlinux")
	if err := os.WriteFile(path, goodELF(elfClass64), 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	// The image is what was opened, whatever happens to its name.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	m, _ := ram(t, 8*mib)
	if _, err := img.Load(Params{Memory: m}); err != nil {
		t.Error(err)
	}
	if err := img.Close(); err != nil {
		t.Error(err)
	}
	if _, err := img.Load(Params{Memory: m}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("load after close: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("directory: %v", err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(text); err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("other file: %v", err)
	}
}

// brokenReader fails from an offset on.
type brokenReader struct {
	data []byte
	from int64
}

func (r brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.from {
		return 0, io.ErrClosedPipe
	}
	return copy(p, r.data[off:]), nil
}

func TestReadErrors(t *testing.T) {
	for name, data := range map[string][]byte{"bzImage": synthBzImage(payload(4096)), "ELF": goodELF(elfClass64)} {
		size := int64(len(data))
		for from := int64(0); from < size; from += 97 {
			img, err := NewImage(name, brokenReader{data, from}, size)
			if err == nil {
				m, _ := ram(t, 24*mib)
				_, err = img.Load(Params{Memory: m})
			}
			if !errors.Is(err, io.ErrClosedPipe) {
				t.Fatalf("%s broken from %d: %v", name, from, err)
			}
			if from > 4*headSize {
				break
			}
		}
	}
}

func TestTruncatedWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(path, synthBzImage(payload(8192)), 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	m, _ := ram(t, 24*mib)
	if _, err := img.Load(Params{Memory: m}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("load of a file that shrank: %v", err)
	}
}
