package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// quorumOf describes a quorum on images, each below blkdebug with rules of its own.
func quorumOf(images []string, threshold int, rules map[int]string, more string) string {
	text := fmt.Sprintf(`{"driver":"quorum","node-name":"q","vote-threshold":%d%s,"children":[`, threshold, more)
	for i, path := range images {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(`{"driver":"raw","node-name":"n%d","file":{"driver":"blkdebug"%s,"image":{"driver":"file","filename":%q}}}`, i, rules[i], path)
	}
	return text + "]}"
}

// bad waits for a QUORUM_REPORT_BAD and returns what it tells.
func (v *vm) bad(t testing.TB) (e qapi.QuorumReportBadEvent) {
	t.Helper()
	if err := e.DecodeQAPI(v.event(t, "QUORUM_REPORT_BAD").Data); err != nil {
		t.Fatal(err)
	}
	return e
}

// corrupt changes bytes of an image.
func corrupt(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("not what it was"), at); err != nil {
		t.Fatal(err)
	}
}

// TestQuorumGuest has a guest on quorums of 3 and 5: what a minority of the children lies
// about or fails at it does not see, and what a majority does it does.
func TestQuorumGuest(t *testing.T) {
	for _, c := range []struct{ children, threshold int }{{3, 2}, {5, 3}} {
		t.Run(fmt.Sprint(c.children), func(t *testing.T) {
			var images []string
			for range c.children {
				images = append(images, hvrun.Image(t, t.TempDir(), 8))
			}
			minority := c.children - c.threshold
			rules := map[int]string{}
			for i := range c.children {
				rules[i] = `,"inject-error":[{"event":"none","iotype":"write","sector":15000}]`
				if i < minority {
					rules[i] = `,"inject-error":[{"event":"none","iotype":"write","sector":14000,"errno":28},{"event":"none","iotype":"write","sector":15000},{"event":"none","iotype":"flush"}]`
				}
			}
			v, sh := startShell(t, "-blockdev", quorumOf(images, c.threshold, rules, `,"rewrite-corrupted":true`), "-device", "virtio-blk-pci,drive=q,id=d,werror=report")
			sh.does(t, "blk.verify size=1M")
			if e := v.bad(t); e.Type != "flush" || *e.Error != "Input/output error" || e.NodeName != "n0" {
				t.Errorf("%+v", e)
			}
			for i := range minority {
				corrupt(t, images[i], 8192)
			}
			sh.does(t, "blk.verify size=1M write=0")
			var e qapi.QuorumReportBadEvent
			for e = v.bad(t); e.Type != "read"; e = v.bad(t) {
			}
			if e.Error != nil || e.SectorNum > 16 || e.SectorNum+e.SectorsCount <= 16 || e.NodeName >= fmt.Sprintf("n%d", minority) {
				t.Errorf("%+v", e)
			}
			sh.does(t, "blk.write sector=13998 size=4096")
			sh.does(t, "blk.write sector=14998 size=4096 expect=1")
			v.event(t, "QUORUM_FAILURE")
			v.do(t, "quit")
			v.ends(t, 0)
			// All were put right, and none was the guest's majority without.
			want, err := os.ReadFile(images[c.children-1])
			if err != nil {
				t.Fatal(err)
			}
			for i := range minority {
				if got, err := os.ReadFile(images[i]); err != nil || string(got[:1<<20]) != string(want[:1<<20]) {
					t.Errorf("child %d was not put right: %v", i, err)
				}
			}
		})
	}
}

// TestQuorumChildren adds a child while the guest writes, and takes one away.
func TestQuorumChildren(t *testing.T) {
	images := []string{hvrun.Image(t, t.TempDir(), 8), hvrun.Image(t, t.TempDir(), 8)}
	third := hvrun.Image(t, t.TempDir(), 8)
	v, sh := startShell(t, "-blockdev", quorumOf(images, 2, nil, ""), "-device", "virtio-blk-pci,drive=q,id=d",
		"-blockdev", "driver=raw,node-name=n2,file.driver=file,file.filename="+third)
	v.failing(t, "The number of children cannot be lower than the vote threshold 2", "x-blockdev-change", `{"parent":"q","child":"children.0"}`)
	v.works(t, "x-blockdev-change", `{"parent":"q","node":"n2"}`)
	sh.does(t, "blk.verify size=1M seed=5")
	v.works(t, "x-blockdev-change", `{"parent":"q","child":"children.0"}`)
	sh.does(t, "blk.verify size=1M sector=4096 seed=6")
	v.failing(t, "does not have child 'children.0'", "x-blockdev-change", `{"parent":"q","child":"children.0"}`)
	v.failing(t, "threshold may not exceed children count", "blockdev-add", `{"driver":"quorum","node-name":"x","vote-threshold":2,"children":["n0"]}`)
	v.do(t, "quit")
	v.ends(t, 0)
	for i, path := range []string{images[0], images[1], third} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		first, last := strings.Trim(string(b[:1<<20]), "\x00") != "", strings.Trim(string(b[2<<20:3<<20]), "\x00") != ""
		if !first || last == (i == 0) {
			t.Errorf("child %d: written before it went %v, after that %v", i, first, last)
		}
	}
}

// nbdServer has qemu-nbd serve an image on a socket, which is there when it returns.
func nbdServer(t *testing.T, socket, image string) *os.Process {
	t.Helper()
	note := filepath.Join(t.TempDir(), "pid")
	tool(t, "qemu-nbd", "--fork", "--pid-file", note, "-t", "-f", "raw", "-k", socket, image)
	text, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

// TestQuorumServer kills the NBD server of a child while the guest writes.
func TestQuorumServer(t *testing.T) {
	const children = 3
	var servers []*os.Process
	text := `{"driver":"quorum","node-name":"q","vote-threshold":2,"children":[`
	for i := range children {
		socket := filepath.Join(t.TempDir(), "nbd")
		servers = append(servers, nbdServer(t, socket, hvrun.Image(t, t.TempDir(), 8)))
		text += fmt.Sprintf(`{"driver":"nbd","node-name":"n%d","server":{"type":"unix","path":%q}},`, i, socket)
	}
	v, sh := startShell(t, "-blockdev", strings.TrimSuffix(text, ",")+"]}", "-device", "virtio-blk-pci,drive=q,id=d,werror=report,rerror=report")
	sh.does(t, "blk.verify size=1M")
	killed := time.AfterFunc(50*time.Millisecond, func() { _ = servers[1].Kill() })
	defer killed.Stop()
	for i := range 20 {
		sh.does(t, fmt.Sprintf("blk.verify size=1M seed=%d", i))
	}
	if e := v.bad(t); e.NodeName != "n1" || e.Error == nil {
		t.Errorf("%+v", e)
	}
	_ = servers[0].Kill()
	sh.does(t, "blk.write sector=0 expect=1")
	v.event(t, "QUORUM_FAILURE")
	v.do(t, "quit")
	v.ends(t, 0)
}

// TestShellOnDisk makes requests of a guest's disk by the human monitor, as qemu-io does.
func TestShellOnDisk(t *testing.T) {
	image := hvrun.Image(t, t.TempDir(), 8)
	v := start(t, bare(t, "spin", append(withDisk(image), "-blockdev", `{"driver":"blkdebug","node-name":"b","image":{"driver":"null-co"}}`, "-blockdev", `{"driver":"null-co","node-name":"ro","read-only":true}`)...)...)
	for line, want := range map[string]string{
		`qemu-io ro "aio_write 0 2k"`: "Block node is read-only\r\n", `qemu-io ro "reopen -r -w"`: "Only one -r/-w option may be given\r\n",
	} {
		if got := v.human(t, line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	var wants []string
	for _, c := range []struct{ line, want string }{
		{`qemu-io d "write -P 9 4096 4k"`, "wrote 4096/4096 bytes at offset 4096"}, {`qemu-io d "read -P 9 4k 4k"`, "read 4096/4096 bytes at offset 4096"},
		{`qemu-io b "break pwritev A"`, ""}, {`qemu-io b "resume A"`, "Could not resume request: No such file or directory"},
		{`qemu-io b "remove_break A"`, ""}, {`qemu-io d "aio_write -P 1 0 512"`, ""}, {`qemu-io d aio_flush`, "wrote 512/512 bytes at offset 0"},
	} {
		if got := v.human(t, c.line); got != "" {
			t.Errorf("%s: %s", c.line, got)
		}
		wants = append(wants, c.want)
	}
	if got := v.human(t, `qemu-io x "read 0 1"`); !strings.Contains(got, "Cannot find device='' nor node-name='x'") {
		t.Error(got)
	}
	if got := v.human(t, `qemu-io -d x "read 0 1"`); !strings.Contains(got, "Device 'x' not found") {
		t.Error(got)
	}
	v.do(t, "quit")
	v.ends(t, 0)
	for _, want := range wants {
		if got := v.Output(); !strings.Contains(got, want) || strings.Contains(got, "failed") {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if out, err := exec.Command(hvrun.Tool(t, "qemu-io"), "-f", "raw", "-c", "read -P 9 4k 4k", image).CombinedOutput(); err != nil || strings.Contains(string(out), "failed") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestVerifyEnds has the process end where two nodes differ that must not.
func TestVerifyEnds(t *testing.T) {
	a, b := hvrun.Image(t, t.TempDir(), 8), hvrun.Image(t, t.TempDir(), 8)
	corrupt(t, b, 1<<20)
	v := start(t, bare(t, "blk.read sector=0; blk.read sector=2048", "-blockdev",
		fmt.Sprintf("driver=blkverify,node-name=v,raw.driver=file,raw.filename=%s,test.driver=file,test.filename=%s", a, b), "-device", "virtio-blk-pci,drive=v")...)
	v.ends(t, 1)
	if got := v.Output(); !strings.Contains(got, "blkverify: read offset=1048576 bytes=512 contents mismatch at offset 1048576") {
		t.Errorf("%s", got)
	}
}

// TestWriteLog has a guest's writes noted, with what it flushed.
func TestWriteLog(t *testing.T) {
	image, log := hvrun.Image(t, t.TempDir(), 8), filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	v, sh := startShell(t, "-blockdev", fmt.Sprintf("driver=blklogwrites,node-name=w,file.driver=file,file.filename=%s,log.driver=file,log.filename=%s", image, log),
		"-device", "virtio-blk-pci,drive=w")
	sh.does(t, "blk.verify size=64K bs=4096")
	v.do(t, "quit")
	v.ends(t, 0)
	b, err := os.ReadFile(log)
	if err != nil || len(b) < 512 || b[16] < 17 { // 16 writes and a flush
		t.Errorf("%v, %d bytes, %d entries", err, len(b), b[16])
	}
}
