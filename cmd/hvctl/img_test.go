package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// sessions are commands on images, one a line. Those of qemu-io begin with io.
var sessions = map[string]string{
	"raw": `create -f raw a.raw 1M
create a.raw 2M
info a.raw
info --output=json a.raw
io raw a.raw write -P 1 64k 64k
map a.raw
map --output=json a.raw
resize -f raw a.raw 3M
resize -f raw a.raw 1M
resize -f raw a.raw +1M
resize -f raw --shrink a.raw 1M
resize a.raw 2M
check a.raw
measure -O qcow2 a.raw
measure -O raw a.raw
create -f raw -o preallocation=full p.raw 64k
info p.raw
convert -O qcow2 a.raw a.qcow2
convert -O qcow2 -c a.raw c.qcow2
compare a.raw a.qcow2
compare a.raw c.qcow2
check c.qcow2
map --output=json c.qcow2
`,
	"qcow2": `create -f qcow2 a.qcow2 3M
create -f qcow2 -o cluster_size=4k,compat=0.10 b.qcow2 1M
create -f qcow2 -o preallocation=metadata,lazy_refcounts=on,refcount_bits=8,compression_type=zstd c.qcow2 1M
create -f qcow2 -o extended_l2=on,cluster_size=128k d.qcow2 1M
create -f qcow2 -o data_file=e.data,data_file_raw=on e.qcow2 1M
io qcow2 a.qcow2 write -P 1 100k 300k
io qcow2 a.qcow2 write -z 1M 128k
io qcow2 d.qcow2 write -P 3 100k 2k
io qcow2 e.qcow2 write -P 3 100k 2k
info a.qcow2
info --output=json a.qcow2
info b.qcow2
info c.qcow2
info d.qcow2
info e.qcow2
info --output=json e.qcow2
check a.qcow2
check --output=json d.qcow2
map a.qcow2
map --output=json a.qcow2
map --output=json d.qcow2
map --output=json --start-offset=100k --max-length=1M a.qcow2
measure -O qcow2 a.qcow2
measure -O qcow2 --size 1G
measure -O qcow2 --size 1G --output=json
resize a.qcow2 +1M
resize --shrink a.qcow2 2M
resize --preallocation=metadata a.qcow2 3M
convert -O raw a.qcow2 a.raw
convert -p -O qcow2 -o cluster_size=4k d.qcow2 f.qcow2
convert -n -O raw a.qcow2 a.raw
convert -n -O raw a.qcow2 e.data
compare a.qcow2 a.raw
compare -s a.qcow2 a.raw
compare a.qcow2 d.qcow2
convert -O raw a.qcow2 d.qcow2 both.raw
create -f qcow2 -o foo=1 y.qcow2 1M
create -f foo y.q 1M
create -f qcow2 y.qcow2
info nothing
info -f qcow2 a.raw
`,
	"chain": `create -f qcow2 base.qcow2 1M
io qcow2 base.qcow2 write -P 1 0 512k
create -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2 2M
io qcow2 mid.qcow2 write -P 2 256k 64k
create -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
io qcow2 top.qcow2 write -P 3 1920k 128k
io qcow2 top.qcow2 write -z 0 64k
info top.qcow2
info --backing-chain top.qcow2
info --backing-chain --output=json top.qcow2
map top.qcow2
map --output=json top.qcow2
create -f qcow2 -b base.qcow2 x.qcow2
create -f qcow2 -b none.qcow2 -F qcow2 x.qcow2
convert -O qcow2 top.qcow2 flat.qcow2
convert -O qcow2 -B base.qcow2 -F qcow2 top.qcow2 over.qcow2
compare flat.qcow2 top.qcow2
compare over.qcow2 top.qcow2
rebase -b base.qcow2 -F qcow2 top.qcow2
compare flat.qcow2 top.qcow2
rebase -u -b mid.qcow2 -F qcow2 top.qcow2
info top.qcow2
rebase -b  top.qcow2
compare flat.qcow2 top.qcow2
commit mid.qcow2
compare base.qcow2 mid.qcow2
map --output=json mid.qcow2
commit flat.qcow2
info --image-opts driver=qcow2,file.driver=file,file.filename=mid.qcow2
`,
	"snapshots": `create -f qcow2 a.qcow2 1M
io qcow2 a.qcow2 write -P 1 0 64k
snapshot -c one a.qcow2
io qcow2 a.qcow2 write -P 2 0 64k
snapshot -c two a.qcow2
io qcow2 a.qcow2 write -P 3 0 128k
snapshot -l a.qcow2
convert -l one -O raw a.qcow2 one.raw
convert -l snapshot.name=two -O raw a.qcow2 two.raw
convert -l three -O raw a.qcow2 three.raw
snapshot -a one a.qcow2
compare a.qcow2 one.raw
snapshot -d one a.qcow2
snapshot -d one a.qcow2
snapshot -a one a.qcow2
check a.qcow2
info a.qcow2
`,
	"bitmaps": `create -f qcow2 a.qcow2 1M
bitmap --add a.qcow2 one
bitmap --add -g 32k a.qcow2 two
io qcow2 a.qcow2 write 100k 100k
bitmap --disable a.qcow2 one
io qcow2 a.qcow2 write 500k 100k
bitmap --add --merge two --disable a.qcow2 three
bitmap --add a.qcow2 one
bitmap --remove a.qcow2 none
bitmap --clear a.qcow2 two
bitmap --enable a.qcow2 one
info a.qcow2
info --output=json a.qcow2
convert --bitmaps -O qcow2 a.qcow2 b.qcow2
info b.qcow2
create -f qcow2 c.qcow2 1M
bitmap --add --merge three -b a.qcow2 -F qcow2 c.qcow2 copy
bitmap --remove a.qcow2 one
info c.qcow2
check c.qcow2
`,
}

// plain takes out of an output what is different whenever images are made.
var plain = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`(?m)^(qemu-img|hvctl): `), "TOOL: "},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "DATE"},
	{regexp.MustCompile(`"date-(n?)sec": \d+`), "DATE"},
	{regexp.MustCompile(`disk size: .*`), "disk size"},
	{regexp.MustCompile(`"actual-size": \d+`), "actual-size"},
	{regexp.MustCompile(`(?m)^Try 'qemu-img --help'.*\n`), ""},
	{regexp.MustCompile(`(?s)^ *\(0\.00/100%\)\r.*\r`), "PROGRESS"}, // which comes when it comes
	{regexp.MustCompile(`"bitmaps": \d+,\s*"required"`), `"required"`},
	{regexp.MustCompile(`bitmaps size: \d+\n`), ""},
	{regexp.MustCompile(`(?m)Image end offset: .*|"image-end-offset": \d+`), "end"},
}

// TestImgLikeQEMU runs the same commands with hvctl and with qemu-img, and compares what they print,
// how they end, and the images that they leave.
func TestImgLikeQEMU(t *testing.T) {
	qemu, io := hvrun.Tool(t, "qemu-img"), hvrun.Tool(t, "qemu-io")
	for name, session := range sessions {
		t.Run(name, func(t *testing.T) {
			ours, theirs := t.TempDir(), t.TempDir()
			for line := range strings.Lines(session) {
				args := strings.Split(strings.TrimSuffix(line, "\n"), " ")
				if args[0] == "io" {
					for _, dir := range []string{ours, theirs} {
						cmd := exec.Command(io, "-f", args[1], "-c", strings.Join(args[3:], " "), args[2])
						cmd.Dir = dir
						if out, err := cmd.CombinedOutput(); err != nil {
							t.Fatalf("%s: %v: %s", line, err, out)
						}
					}
					continue
				}
				want, wantStatus := imgOf(t, theirs, qemu, args)
				got, status := imgOf(t, ours, "", args)
				if got != want || status != wantStatus {
					t.Errorf("%sgot %d:\n%s\nwant %d:\n%s", line, status, got, wantStatus, want)
				}
			}
			sameImages(t, ours, theirs)
		})
	}
}

// imgOf runs a command with a program, or hvctl's img itself.
func imgOf(t *testing.T, dir, program string, args []string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	status := 0
	if program == "" {
		t.Chdir(dir)
		tl := tool{out: &out, errOut: &out}
		status = tl.run(t.Context(), append([]string{"img"}, args...))
	} else {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		b, _ := cmd.CombinedOutput()
		out.Write(b)
		status = cmd.ProcessState.ExitCode()
	}
	text := out.String()
	for _, p := range plain {
		text = p.from.ReplaceAllString(text, p.to)
	}
	return strings.TrimSpace(text), status
}

// sameImages sees that QEMU finds the same in the images of two folders.
func sameImages(t *testing.T, ours, theirs string) {
	t.Helper()
	qemu := hvrun.Tool(t, "qemu-img")
	files, err := filepath.Glob(filepath.Join(theirs, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		mine := filepath.Join(ours, filepath.Base(file))
		if out, err := exec.Command(qemu, "compare", mine, file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", filepath.Base(file), err, out)
		}
		if strings.HasSuffix(file, ".qcow2") {
			if out, err := exec.Command(qemu, "check", mine).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", filepath.Base(file), err, out)
			}
		}
	}
}
