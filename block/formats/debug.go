package formats

import (
	"errors"
	"fmt"
	"io"
	"os"

	"hv/block/blkdebugdrv"
	"hv/block/blklogwritesdrv"
	"hv/block/blkverifydrv"
	"hv/block/graph"
	"hv/qmp/qapi"
)

// maxConfig is how long a file with rules is at most.
const maxConfig = 1 << 20

// blkdebug opens a node that fails as it is told to.
func (x *Opener) blkdebug(s graph.Spec, o *qapi.BlockdevOptionsBlkdebug, from inherited) (*graph.Node, error) {
	rules, err := x.rules(o)
	if err != nil {
		return nil, err
	}
	cfg := blkdebugdrv.Config{
		Rules: rules, Limits: graph.Limits{Align: number(o.Align), MaxTransfer: number(o.MaxTransfer), ZeroAlign: number(o.OptWriteZero),
			MaxZero: number(o.MaxWriteZero), DiscardAlign: number(o.OptDiscard), MaxDiscard: number(o.MaxDiscard)},
		Take: perms(o.TakeChildPerms), Unshare: perms(o.UnshareChildPerms), Print: x.Print,
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	image, err := x.child(&o.Image, from)
	if err != nil {
		return nil, err
	}
	s.Children = []graph.Edge{{Name: "image", Role: graph.Filtered, Node: image}}
	s.Open = func(c []*graph.Child) (graph.Driver, error) { return blkdebugdrv.Open(cfg, c[0]), nil }
	s.Filename = func() string { return debugName(o, image.Filename()) }
	n, err := x.Graph.Open(s)
	return n, errors.Join(err, image.Unref())
}

// debugName returns what the node is known by, if a name says all of its options.
func debugName(o *qapi.BlockdevOptionsBlkdebug, image string) string {
	if image == "" || o.Align != nil || o.MaxTransfer != nil || o.OptWriteZero != nil || o.MaxWriteZero != nil || o.OptDiscard != nil ||
		o.MaxDiscard != nil || len(o.InjectError)+len(o.SetState)+len(o.TakeChildPerms)+len(o.UnshareChildPerms) > 0 {
		return ""
	}
	config := ""
	if o.Config != nil {
		config = *o.Config
	}
	return "blkdebug:" + config + ":" + image
}

func number[T int32 | int64](n *T) int64 {
	if n == nil {
		return 0
	}
	return int64(*n)
}

var permissions = map[qapi.BlockPermission]graph.Perm{
	qapi.BlockPermissionConsistentRead: graph.ConsistentRead, qapi.BlockPermissionWrite: graph.Write,
	qapi.BlockPermissionWriteUnchanged: graph.WriteUnchanged, qapi.BlockPermissionResize: graph.Resize,
}

func perms(list qapi.BlockPermissionList) (p graph.Perm) {
	for _, name := range list {
		p |= permissions[name]
	}
	return p
}

// rules reads the rules of a node: those of its file first.
func (x *Opener) rules(o *qapi.BlockdevOptionsBlkdebug) (all []*blkdebugdrv.Rule, err error) {
	if o.Config != nil {
		if all, err = x.ruleFile(*o.Config); err != nil {
			return nil, err
		}
	}
	for i := range o.InjectError {
		r, err := blkdebugdrv.InjectRule(&o.InjectError[i])
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	for i := range o.SetState {
		r, err := blkdebugdrv.StateRule(&o.SetState[i])
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func (x *Opener) ruleFile(path string) ([]*blkdebugdrv.Rule, error) {
	f, err := x.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("Could not read blkdebug config file: %s", graph.ErrorText(err))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("Could not read blkdebug config file: %s", graph.ErrorText(err))
	}
	return blkdebugdrv.ParseConfig(path, string(text))
}

// two opens two nodes that another one is to have.
func (x *Opener) two(a, b *qapi.BlockdevRef, from inherited) (first, second *graph.Node, err error) {
	if first, err = x.child(a, from); err != nil {
		return nil, nil, err
	}
	if second, err = x.child(b, from); err != nil {
		return nil, nil, errors.Join(err, first.Unref())
	}
	return first, second, nil
}

// blkverify opens a node that compares two others.
func (x *Opener) blkverify(s graph.Spec, o *qapi.BlockdevOptionsBlkverify, from inherited) (*graph.Node, error) {
	raw, test, err := x.two(&o.Raw, &o.Test, from)
	if err != nil {
		return nil, err
	}
	s.Children = []graph.Edge{{Name: "raw", Role: graph.Filtered, Node: raw}, {Name: "test", Role: graph.Storage, Node: test}}
	s.Open = func(c []*graph.Child) (graph.Driver, error) {
		return blkverifydrv.Open(c[1], c[0], x.Quorum.Mismatch), nil
	}
	s.Filename = func() string {
		if raw.Filename() == "" || test.Filename() == "" {
			return ""
		}
		return "blkverify:" + raw.Filename() + ":" + test.Filename()
	}
	n, err := x.Graph.Open(s)
	return n, errors.Join(err, raw.Unref(), test.Unref())
}

// defaultInterval is after how many writes the head of a log is written.
const defaultInterval = 4096

// blklogwrites opens a node whose writes are noted in another one.
func (x *Opener) blklogwrites(s graph.Spec, o *qapi.BlockdevOptionsBlklogwrites, from inherited) (*graph.Node, error) {
	cfg := blklogwritesdrv.Config{Append: isSet(o.LogAppend), Interval: defaultInterval}
	if o.LogSectorSize != nil {
		if cfg.SectorSize = *o.LogSectorSize; cfg.SectorSize == 0 {
			return nil, errors.New("Invalid log sector size 0")
		}
	}
	if o.LogSuperUpdateInterval != nil {
		cfg.Interval = *o.LogSuperUpdateInterval
	}
	file, log, err := x.two(&o.File, &o.Log, from)
	if err != nil {
		return nil, err
	}
	s.Children = []graph.Edge{{Name: "file", Role: graph.Filtered, Node: file}, {Name: "log", Role: graph.Storage, Node: log}}
	s.Open = func(c []*graph.Child) (graph.Driver, error) { return blklogwritesdrv.Open(cfg, c[0], c[1]) }
	s.Filename = func() string { return "" }
	n, err := x.Graph.Open(s)
	return n, errors.Join(err, file.Unref(), log.Unref())
}
