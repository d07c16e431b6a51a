package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hv/test/hvrun"
)

// blockNodes is what each table of errors starts from: a protocol node, a format
// on it, two nodes without data, and a group of throttling.
const blockNodes = `
blockdev-add {'driver': 'file', 'node-name': 'f', 'filename': 'DIR/disk'}
blockdev-add {'driver': 'raw', 'node-name': 'r', 'file': 'f'}
blockdev-add {'driver': 'null-co', 'node-name': 'n', 'size': 1048576}
blockdev-add {'driver': 'null-co', 'node-name': 'm', 'size': 2097152, 'read-zeroes': true}
object-add {'qom-type': 'throttle-group', 'id': 'g'}
`

// blockErrors are commands of the block layer by family; most of them fail.
var blockErrors = map[string]string{
	"add": `
blockdev-add {}
blockdev-add {'driver': 'no-such', 'node-name': 'x'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 7, 'node-name': 'x'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'null-co'}
blockdev-add {'driver': 'null-co', 'node-name': ''}
blockdev-add {'driver': 'null-co', 'node-name': '7up'}
blockdev-add {'driver': 'null-co', 'node-name': 'a b'}
blockdev-add {'driver': 'null-co', 'node-name': '#block'}
blockdev-add {'driver': 'null-co', 'node-name': 'abcdefghijabcdefghijabcdefghijab'}
blockdev-add {'driver': 'null-co', 'node-name': 'n'}
blockdev-add {'driver': 'null-co', 'node-name': 'g'}
blockdev-add {'driver': 'null-co', 'node-name': 'x', 'size': 'much'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'null-co', 'node-name': 'x', 'size': 1.5}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'null-co', 'node-name': 'x', 'latency-ns': -1}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'null-co', 'node-name': 'x', 'read-zeroes': 'on'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'null-co', 'node-name': 'x', 'read-only': 1}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'null-co', 'node-name': 'x', 'discard': 'maybe'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'null-co', 'node-name': 'x', 'detect-zeroes': 'maybe'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'null-co', 'node-name': 'x', 'detect-zeroes': 'unmap'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'null-co', 'node-name': 'x', 'cache': 'none'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'null-co', 'node-name': 'x', 'cache': {'writeback': true}}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'file', 'node-name': 'x', 'filename': 'DIR/absent'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'file', 'node-name': 'x', 'filename': 'DIR'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'file', 'node-name': 'x', 'filename': ''}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'file', 'node-name': 'x', 'filename': 'DIR/disk', 'aio': 'fast'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'file', 'node-name': 'x', 'filename': 'DIR/disk', 'aio': 'native'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'file', 'node-name': 'x', 'filename': 'DIR/disk', 'locking': 'yes'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'file', 'node-name': 'x', 'filename': 'DIR/disk', 'pr-manager': 'p'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'host_device', 'node-name': 'x', 'filename': 'DIR/disk'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'host_device', 'node-name': 'x', 'filename': 'DIR/absent'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'raw', 'node-name': 'x', 'file': 'n', 'offset': -1}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'raw', 'node-name': 'x', 'file': 'n', 'offset': 2097152}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'raw', 'node-name': 'x', 'file': 'n', 'offset': 512, 'size': 1048576}
blockdev-del {'node-name': 'x'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'raw', 'node-name': 'x', 'file': {'driver': 'file'}}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'raw', 'node-name': 'x', 'file': {'driver': 'file', 'filename': 'DIR/absent'}}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'raw', 'node-name': 'x', 'file': {'driver': 'null-co', 'node-name': 'n'}}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'raw', 'node-name': 'x', 'file': {'driver': 'null-co', 'node-name': 'x'}}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'qcow2', 'node-name': 'x', 'file': 'm'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'qcow2', 'node-name': 'x', 'file': 'm', 'overlap-check': 'some'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'qcow2', 'node-name': 'x', 'file': 'm', 'backing': 'absent'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'throttle', 'node-name': 'x', 'file': 'n', 'throttle-group': 'absent'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'throttle', 'node-name': 'x', 'file': 'n', 'throttle-group': 'g', 'iops-total': 1}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'copy-on-read', 'node-name': 'x', 'file': 'n', 'bottom': 'absent'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'copy-before-write', 'node-name': 'x', 'file': 'n'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'copy-before-write', 'node-name': 'x', 'file': 'n', 'target': 'absent'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'copy-before-write', 'node-name': 'x', 'file': 'n', 'target': 'm'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'quorum', 'node-name': 'x', 'children': [], 'vote-threshold': 1}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'quorum', 'node-name': 'x', 'children': ['n'], 'vote-threshold': 2}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'quorum', 'node-name': 'x', 'children': ['n', 'm'], 'vote-threshold': 0}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'quorum', 'node-name': 'x', 'children': ['n', 'm'], 'vote-threshold': -1}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'quorum', 'node-name': 'x', 'children': ['n', 'absent'], 'vote-threshold': 1}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'quorum', 'node-name': 'x', 'children': ['n', 'm'], 'vote-threshold': 1, 'blkverify': true}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'blkdebug', 'node-name': 'x', 'image': 'n', 'align': 3}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'blkdebug', 'node-name': 'x', 'image': 'n', 'max-transfer': 7}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'blkdebug', 'node-name': 'x', 'image': 'n', 'opt-discard': 7}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'blkdebug', 'node-name': 'x', 'image': 'n', 'config': 'DIR/absent'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'blkdebug', 'node-name': 'x', 'image': 'n', 'inject-error': [{'event': 'no_such'}]}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'blkverify', 'node-name': 'x', 'test': 'n', 'raw': 'absent'}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'blklogwrites', 'node-name': 'x', 'file': 'n', 'log': 'm', 'log-sector-size': 3}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'blklogwrites', 'node-name': 'x', 'file': 'n', 'log': 'm', 'log-append': true}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'nbd', 'node-name': 'x', 'server': {'type': 'unix', 'path': 'DIR/absent'}}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'nbd', 'node-name': 'x', 'server': {'type': 'unix'}}
blockdev-del {'node-name': 'x'}
blockdev-add {'driver': 'nbd', 'node-name': 'x', 'server': {'type': 'unix', 'path': 'DIR/absent'}, 'tls-creds': 'absent'}
blockdev-del {'node-name': 'x'}
query-named-block-nodes {'flat': 'x'}
`,
	"change": `
blockdev-del {}
blockdev-del {'node-name': 'absent'}
blockdev-del {'node-name': 'f'}
blockdev-del {'node-name': 'n', 'force': true}
blockdev-reopen {}
blockdev-reopen {'options': [{'driver': 'null-co'}]}
blockdev-reopen {'options': [{'driver': 'null-co', 'node-name': 'absent'}]}
blockdev-reopen {'options': [{'driver': 'raw', 'node-name': 'n', 'file': 'm'}]}
blockdev-reopen {'options': [{'driver': 'raw', 'node-name': 'r'}]}
blockdev-reopen {'options': [{'driver': 'raw', 'node-name': 'r', 'file': 'absent'}]}
blockdev-reopen {'options': [{'driver': 'raw', 'node-name': 'r', 'file': 'r'}]}
blockdev-reopen {'options': [{'driver': 'file', 'node-name': 'f', 'filename': 'DIR/other'}]}
blockdev-reopen {'options': [{'driver': 'null-co', 'node-name': 'n', 'size': 512}]}
blockdev-reopen {'options': [{'driver': 'null-co', 'node-name': 'n', 'size': 1048576}]}
x-blockdev-change {}
x-blockdev-change {'parent': 'absent'}
x-blockdev-change {'parent': 'n'}
x-blockdev-change {'parent': 'n', 'node': 'm'}
x-blockdev-change {'parent': 'n', 'node': 'absent'}
x-blockdev-change {'parent': 'n', 'child': 'file'}
x-blockdev-change {'parent': 'r', 'child': 'file'}
x-blockdev-change {'parent': 'r', 'child': 'file', 'node': 'm'}
block_resize {'size': 512}
block_resize {'node-name': 'n'}
block_resize {'node-name': 'n', 'size': -1}
block_resize {'node-name': 'n', 'size': 512}
block_resize {'node-name': 'absent', 'size': 512}
block_resize {'device': 'absent', 'size': 512}
block_resize {'device': 'n', 'node-name': 'n', 'size': 512}
block_resize {'node-name': 'r', 'size': 9223372036854775807}
block_resize {'node-name': 'r', 'size': 1000}
block-set-write-threshold {'node-name': 'absent', 'write-threshold': 1}
block-set-write-threshold {'node-name': 'n', 'write-threshold': -1}
block-set-write-threshold {'node-name': 'n'}
block-set-write-threshold {'node-name': 'n', 'write-threshold': 18446744073709551615}
change-backing-file {'device': 'absent', 'image-node-name': 'n', 'backing-file': 'b'}
change-backing-file {'device': 'n', 'image-node-name': 'absent', 'backing-file': 'b'}
change-backing-file {'device': 'r', 'image-node-name': 'r', 'backing-file': 'b'}
eject {}
eject {'device': 'absent'}
eject {'id': 'absent'}
blockdev-open-tray {'id': 'absent'}
blockdev-close-tray {'id': 'absent'}
blockdev-remove-medium {'id': 'absent'}
blockdev-insert-medium {'id': 'absent', 'node-name': 'n'}
blockdev-change-medium {'id': 'absent', 'filename': 'DIR/disk'}
blockdev-change-medium {'id': 'absent', 'filename': 'DIR/disk', 'read-only-mode': 'x'}
block_set_io_throttle {'id': 'absent', 'bps': 0, 'bps_rd': 0, 'bps_wr': 0, 'iops': 0, 'iops_rd': 0, 'iops_wr': 0}
block_set_io_throttle {'id': 'absent', 'bps': 0}
block-latency-histogram-set {'id': 'absent'}
block-latency-histogram-set {'id': 'n', 'boundaries': [3, 2]}
qom-set {'path': '/objects/g', 'property': 'x-iops-total', 'value': -1}
qom-set {'path': '/objects/g', 'property': 'limits', 'value': {'iops-total': -1}}
qom-set {'path': '/objects/g', 'property': 'limits', 'value': {'iops-total': 1, 'iops-read': 1}}
qom-set {'path': '/objects/g', 'property': 'limits', 'value': {'iops-total-max': 1}}
qom-set {'path': '/objects/g', 'property': 'limits', 'value': {'iops-total': 9, 'iops-total-max': 1}}
qom-set {'path': '/objects/g', 'property': 'limits', 'value': {'iops-total': 9, 'iops-total-max-length': 0}}
qom-set {'path': '/objects/g', 'property': 'limits', 'value': {'no-such': 9}}
`,
	"snapshots": `
blockdev-snapshot {'node': 'absent', 'overlay': 'n'}
blockdev-snapshot {'node': 'n', 'overlay': 'absent'}
blockdev-snapshot {'node': 'n', 'overlay': 'm'}
blockdev-snapshot {'node': 'n', 'overlay': 'n'}
blockdev-snapshot-sync {'snapshot-file': 'DIR/s'}
blockdev-snapshot-sync {'device': 'absent', 'snapshot-file': 'DIR/s'}
blockdev-snapshot-sync {'node-name': 'absent', 'snapshot-file': 'DIR/s'}
blockdev-snapshot-sync {'node-name': 'n', 'snapshot-file': 'DIR/s'}
blockdev-snapshot-sync {'node-name': 'n', 'snapshot-file': 'DIR/s', 'snapshot-node-name': 'm'}
blockdev-snapshot-sync {'node-name': 'n', 'snapshot-file': 'DIR/s', 'snapshot-node-name': 's', 'format': 'no-such'}
blockdev-snapshot-sync {'node-name': 'n', 'snapshot-file': 'DIR/no/s', 'snapshot-node-name': 's'}
blockdev-snapshot-sync {'node-name': 'n', 'snapshot-file': 'DIR/s', 'snapshot-node-name': 's', 'mode': 'no-such'}
blockdev-snapshot-internal-sync {'device': 'absent', 'name': 's'}
blockdev-snapshot-internal-sync {'device': 'n', 'name': 's'}
blockdev-snapshot-internal-sync {'device': 'r', 'name': 's'}
blockdev-snapshot-internal-sync {'device': 'n', 'name': ''}
blockdev-snapshot-delete-internal-sync {'device': 'absent', 'name': 's'}
blockdev-snapshot-delete-internal-sync {'device': 'n'}
blockdev-snapshot-delete-internal-sync {'device': 'n', 'name': 's'}
transaction {}
transaction {'actions': []}
transaction {'actions': [{}]}
transaction {'actions': [{'type': 'no-such', 'data': {}}]}
transaction {'actions': [{'type': 'abort', 'data': {}}]}
transaction {'actions': [{'type': 'abort', 'data': {'x': 1}}]}
transaction {'actions': [], 'properties': {'completion-mode': 'x'}}
transaction {'actions': [{'type': 'block-dirty-bitmap-add', 'data': {'node': 'n', 'name': 't'}}, {'type': 'abort', 'data': {}}]}
transaction {'actions': [{'type': 'blockdev-snapshot', 'data': {'node': 'n', 'overlay': 'm'}}]}
`,
	"bitmaps": `
block-dirty-bitmap-add {'node': 'n'}
block-dirty-bitmap-add {'node': 'absent', 'name': 'b'}
block-dirty-bitmap-add {'node': 'n', 'name': ''}
block-dirty-bitmap-add {'node': 'n', 'name': 'b', 'granularity': 0}
block-dirty-bitmap-add {'node': 'n', 'name': 'b', 'granularity': 256}
block-dirty-bitmap-add {'node': 'n', 'name': 'b', 'granularity': 1000}
block-dirty-bitmap-add {'node': 'n', 'name': 'b', 'granularity': 4294967296}
block-dirty-bitmap-add {'node': 'n', 'name': 'b', 'persistent': true}
block-dirty-bitmap-add {'node': 'n', 'name': 'b', 'granularity': 512}
block-dirty-bitmap-add {'node': 'n', 'name': 'b'}
block-dirty-bitmap-add {'node': 'm', 'name': 'big', 'disabled': true}
block-dirty-bitmap-remove {'node': 'n', 'name': 'absent'}
block-dirty-bitmap-remove {'node': 'absent', 'name': 'b'}
block-dirty-bitmap-clear {'node': 'n', 'name': 'absent'}
block-dirty-bitmap-enable {'node': 'n', 'name': 'absent'}
block-dirty-bitmap-disable {'node': 'n', 'name': 'absent'}
block-dirty-bitmap-merge {'node': 'n', 'target': 'absent', 'bitmaps': ['b']}
block-dirty-bitmap-merge {'node': 'n', 'target': 'b', 'bitmaps': ['absent']}
block-dirty-bitmap-merge {'node': 'n', 'target': 'b', 'bitmaps': ['b']}
block-dirty-bitmap-merge {'node': 'n', 'target': 'b', 'bitmaps': [{'node': 'absent', 'name': 'b'}]}
block-dirty-bitmap-merge {'node': 'n', 'target': 'b', 'bitmaps': [{'node': 'm'}]}
block-dirty-bitmap-merge {'node': 'n', 'target': 'b', 'bitmaps': [7]}
block-dirty-bitmap-merge {'node': 'n', 'target': 'b', 'bitmaps': [{'node': 'm', 'name': 'big'}]}
x-debug-block-dirty-bitmap-sha256 {'node': 'n', 'name': 'b'}
x-debug-block-dirty-bitmap-sha256 {'node': 'n', 'name': 'absent'}
block-dirty-bitmap-remove {'node': 'n', 'name': 'b'}
`,
	"exports": `
block-export-add {}
block-export-add {'type': 'no-such', 'id': 'e', 'node-name': 'n'}
block-export-add {'type': 'nbd', 'id': 'e'}
block-export-add {'type': 'nbd', 'id': 'e', 'node-name': 'n'}
nbd-server-add {'device': 'n'}
nbd-server-remove {'name': 'n'}
nbd-server-stop {}
nbd-server-start {}
nbd-server-start {'addr': {'type': 'unix', 'data': {}}}
nbd-server-start {'addr': {'type': 'unix', 'data': {'path': 'DIR/no/s'}}}
nbd-server-start {'addr': {'type': 'unix', 'data': {'path': 'DIR/SIDE.sock'}}, 'tls-creds': 'absent'}
nbd-server-start {'addr': {'type': 'unix', 'data': {'path': 'DIR/SIDE.sock'}}, 'tls-authz': 'absent'}
nbd-server-start {'addr': {'type': 'unix', 'data': {'path': 'DIR/SIDE.sock'}}, 'max-connections': -1}
nbd-server-start {'addr': {'type': 'unix', 'data': {'path': 'DIR/SIDE.sock'}}}
nbd-server-start {'addr': {'type': 'unix', 'data': {'path': 'DIR/SIDE.sock'}}}
block-export-add {'type': 'nbd', 'id': '7', 'node-name': 'n'}
block-export-add {'type': 'nbd', 'id': 'e', 'node-name': 'absent'}
block-export-add {'type': 'nbd', 'id': 'e', 'node-name': 'n', 'iothread': 'absent'}
block-export-add {'type': 'nbd', 'id': 'e', 'node-name': 'n', 'name': 'x', 'bitmaps': ['absent']}
block-export-add {'type': 'nbd', 'id': 'e', 'node-name': 'n', 'writable': 'x'}
block-export-add {'type': 'nbd', 'id': 'e', 'node-name': 'n'}
block-export-add {'type': 'nbd', 'id': 'e', 'node-name': 'm'}
block-export-add {'type': 'nbd', 'id': 'e2', 'node-name': 'n'}
nbd-server-add {'device': 'absent'}
nbd-server-add {'device': 'n'}
nbd-server-remove {'name': 'absent'}
nbd-server-remove {'name': 'n', 'mode': 'x'}
block-export-del {}
block-export-del {'id': 'absent'}
block-export-del {'id': 'e', 'mode': 'x'}
blockdev-del {'node-name': 'n'}
query-block-exports {}
`,
}

// TestBlockErrors gives hv and QEMU the same commands of the block layer, wrong
// ones above all, and compares every byte of the answers.
func TestBlockErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "disk"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, table := range blockErrors {
		t.Run(name, func(t *testing.T) {
			hv := blockAnswers(t, hvrun.Binary(t), "hv", dir, table)
			qemu := blockAnswers(t, hvrun.Tool(t, qemu), "qemu", dir, table)
			for i, step := range blockSteps(table) {
				if (hv[i] == qemu[i]) == blockDeviation[step] {
					t.Errorf("%s\nhv   %s\nQEMU %s", step, hv[i], qemu[i])
				}
			}
		})
	}
}

func blockSteps(table string) []string {
	return strings.Split(strings.TrimSpace(table), "\n")
}

// blockAnswers are a fresh monitor's answers to a table's commands, without the
// events and with the temporary names as the table has them.
func blockAnswers(t *testing.T, program, side, dir, table string) (answers []string) {
	t.Helper()
	paths := strings.NewReplacer("DIR", dir, "SIDE", side)
	back := strings.NewReplacer(dir, "DIR", side+".sock", "SIDE.sock", "\r", "")
	setup := len(blockSteps(blockNodes))
	steps := append(blockSteps(blockNodes), blockSteps(table)...)
	c := conversation{steps: []string{negotiate}}
	for _, step := range steps {
		command, arguments, _ := strings.Cut(step, " ")
		c.steps = append(c.steps, fmt.Sprintf("{'execute': '%s', 'arguments': %s}\n", command, paths.Replace(arguments)))
	}
	s := serve(t, program)
	for i, answer := range said(t, s, s.plain, c)[1:] {
		var lines []string
		for _, l := range strings.Split(back.Replace(answer), "\n") {
			if (strings.HasPrefix(l, `{"return"`) || strings.HasPrefix(l, `{"error"`)) && !strings.Contains(l, `"id": "end of`) {
				lines = append(lines, l)
			}
		}
		if i < setup && !strings.Contains(answer, `{"return": {}}`) {
			t.Fatalf("%s: %s", steps[i], answer)
		}
		answers = append(answers, strings.Join(lines, "\n"))
	}
	return answers[setup:]
}

// blockDeviation has the commands that hv answers otherwise: it has no managers of persistent
// reservations, looks at the driver before other options that change, and names a member
// of limits without its parent.
var blockDeviation = map[string]bool{
	`blockdev-add {'driver': 'file', 'node-name': 'x', 'filename': 'DIR/disk', 'pr-manager': 'p'}`: true,
	`blockdev-reopen {'options': [{'driver': 'raw', 'node-name': 'n', 'file': 'm'}]}`:              true,
	`qom-set {'path': '/objects/g', 'property': 'limits', 'value': {'no-such': 9}}`:                true,
}
