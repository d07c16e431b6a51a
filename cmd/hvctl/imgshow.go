package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"hv/block/imgtool"
	"hv/block/qcow2"
	"hv/qmp/qapi"
)

// writeJSON prints a value as qemu-img does: indented, and objects in QEMU's order.
func writeJSON(w io.Writer, v any) error {
	var doc qapi.Document
	add(&doc, v)
	e := qapi.NewEncoder(true)
	e.Value(doc.Root())
	_, err := fmt.Fprintf(w, "%s\n", bytes.ReplaceAll(e.Bytes(), []byte("\r\n"), []byte("\n")))
	return err
}

func add(doc *qapi.Document, v any) {
	switch v := v.(type) {
	case bool:
		doc.AddBool(v)
	case int:
		doc.AddInt(int64(v))
	case int64:
		doc.AddInt(v)
	case string:
		doc.AddString([]byte(v))
	case []any:
		at := doc.Open(qapi.Array)
		for _, x := range v {
			add(doc, x)
		}
		doc.Close(at, len(v))
	case map[string]any:
		at := doc.Open(qapi.Object)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			doc.AddString([]byte(key))
			add(doc, v[key])
		}
		doc.Close(at, len(v))
	}
}

func (m *img) info() error {
	if err := m.wants(1, 1, oneFile); err != nil {
		return err
	}
	src := m.source(m.args[0], "f")
	var all []*imgtool.Info
	var err error
	if m.has("backing-chain") {
		all, err = imgtool.Chain(src, m.share())
	} else {
		var one *imgtool.Info
		one, err = imgtool.Describe(src, m.share())
		all = []*imgtool.Info{one}
	}
	if err != nil {
		return err
	}
	if m.value("output") != "json" {
		for i, x := range all {
			if i > 0 {
				fmt.Fprintln(m.out)
			}
			printInfo(m.out, x)
		}
		return nil
	}
	if !m.has("backing-chain") {
		return writeJSON(m.out, all[0].JSON())
	}
	var list []any
	for _, x := range all {
		list = append(list, x.JSON())
	}
	return writeJSON(m.out, list)
}

// size returns a number of bytes in the largest unit that it has at least one of.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for ; f >= 999.5 && i < len(units)-1; i++ {
		f /= 1024
	}
	return strconv.FormatFloat(f, 'g', 3, 64) + " " + units[i:i+1] + "iB"
}

func printInfo(w io.Writer, i *imgtool.Info) {
	fmt.Fprintf(w, "image: %s\nfile format: %s\nvirtual size: %s (%d bytes)\ndisk size: %s\n", i.Filename, i.Format, size(i.Size), i.Size, size(i.Allocated))
	h := i.Header
	if h == nil {
		return
	}
	if h.Incompatible&qcow2.IncompatDirty != 0 {
		fmt.Fprintln(w, "cleanly shut down: no")
	}
	fmt.Fprintf(w, "cluster_size: %d\n", 1<<h.ClusterBits)
	if h.BackingFile != "" {
		fmt.Fprintf(w, "backing file: %s", h.BackingFile)
		if i.FullBacking != h.BackingFile {
			fmt.Fprintf(w, " (actual path: %s)", i.FullBacking)
		}
		fmt.Fprintln(w)
		if h.BackingFormat != "" {
			fmt.Fprintf(w, "backing file format: %s\n", h.BackingFormat)
		}
	}
	printSnapshots(w, i.Snapshots)
	printSpecific(w, i)
}

func printSnapshots(w io.Writer, list []qcow2.Snapshot) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT")
	for _, s := range list {
		count := ""
		if s.ICount != math.MaxUint64 {
			count = strconv.FormatUint(s.ICount, 10)
		}
		c := s.VMClock
		clock := fmt.Sprintf("%02d:%02d:%02d.%03d", c/time.Hour, c/time.Minute%60, c/time.Second%60, c/time.Millisecond%1000)
		fmt.Fprintf(w, "%-9s %-16s %8s%20s%13s%11s\n", s.ID, s.Name, size(s.VMStateSize), s.Date.Local().Format("2006-01-02 15:04:05"), clock, count)
	}
}

func printSpecific(w io.Writer, i *imgtool.Info) {
	d := i.JSON()["format-specific"].(map[string]any)["data"].(map[string]any)
	fmt.Fprintln(w, "Format specific information:")
	for _, x := range []struct{ key, label string }{
		{"compat", "compat"}, {"compression-type", "compression type"}, {"lazy-refcounts", "lazy refcounts"}, {"bitmaps", "bitmaps"},
		{"refcount-bits", "refcount bits"}, {"data-file", "data file"}, {"data-file-raw", "data file raw"}, {"corrupt", "corrupt"}, {"extended-l2", "extended l2"},
	} {
		switch v := d[x.key].(type) {
		case nil:
		case []any:
			printBitmaps(w, v)
		default:
			fmt.Fprintf(w, "    %s: %v\n", x.label, v)
		}
	}
}

func printBitmaps(w io.Writer, list []any) {
	fmt.Fprintln(w, "    bitmaps:")
	for n, b := range list {
		b := b.(map[string]any)
		fmt.Fprintf(w, "        [%d]:\n            flags:", n)
		for k, f := range b["flags"].([]any) {
			fmt.Fprintf(w, "\n                [%d]: %v", k, f)
		}
		fmt.Fprintf(w, "\n            name: %v\n            granularity: %v\n", b["name"], b["granularity"])
	}
}

// Exit statuses of check.
const (
	checkErrors      = 1
	checkCorrupt     = 2
	checkLeaks       = 3
	checkUnsupported = 63
)

func (m *img) check() error {
	if err := m.wants(1, 1, oneFile); err != nil {
		return err
	}
	fix := qcow2.Fix(0)
	if m.has("r") || m.has("repair") {
		switch m.value("r", "repair") {
		case "leaks":
			fix = qcow2.FixLeaks
		case "all":
			fix = qcow2.FixAll
		default:
			return errors.New("-r expects either 'leaks' or 'all' (not '" + m.value("r", "repair") + "')")
		}
	}
	src := m.source(m.args[0], "f")
	r, err := imgtool.Check(src, fix, m.share())
	switch {
	case errors.Is(err, imgtool.ErrNoCheck):
		fmt.Fprintf(m.errOut, "hvctl: %v\n", err)
		return imgStatus(checkUnsupported)
	case err != nil:
		return err
	}
	fixed := r
	if fix != 0 && (r.LeaksFixed > 0 || r.CorruptionsFixed > 0) { // what is left is what counts
		if r, err = imgtool.Check(src, 0, m.share()); err != nil {
			return err
		}
		r.LeaksFixed, r.CorruptionsFixed, r.Messages = fixed.LeaksFixed, fixed.CorruptionsFixed, fixed.Messages
	}
	if m.value("output") == "json" {
		err = writeJSON(m.out, checkJSON(src.Name, &r))
	} else if !m.has("q") {
		printCheck(m.out, &r)
	}
	return errors.Join(err, checkStatus(&r))
}

func checkStatus(r *qcow2.Result) error {
	switch {
	case r.Errors > 0:
		return imgStatus(checkErrors)
	case r.Corruptions > 0:
		return imgStatus(checkCorrupt)
	case r.Leaks > 0:
		return imgStatus(checkLeaks)
	}
	return nil
}

func checkJSON(name string, r *qcow2.Result) map[string]any {
	o := map[string]any{"filename": name, "format": "qcow2", "check-errors": r.Errors}
	for key, v := range map[string]int64{
		"image-end-offset": r.ImageEnd, "corruptions": r.Corruptions, "leaks": r.Leaks, "corruptions-fixed": r.CorruptionsFixed,
		"leaks-fixed": r.LeaksFixed, "total-clusters": r.TotalClusters, "allocated-clusters": r.Allocated,
		"fragmented-clusters": r.Fragmented, "compressed-clusters": r.CompressedClusters,
	} {
		if v != 0 {
			o[key] = v
		}
	}
	return o
}

func printCheck(w io.Writer, r *qcow2.Result) {
	for _, msg := range r.Messages {
		fmt.Fprintln(w, msg)
	}
	if r.CorruptionsFixed > 0 || r.LeaksFixed > 0 {
		fmt.Fprintf(w, "The following inconsistencies were found and repaired:\n\n    %d leaked clusters\n    %d corruptions\n\n"+
			"Double checking the fixed image now...\n", r.LeaksFixed, r.CorruptionsFixed)
	}
	switch {
	case r.Errors == 0 && r.Corruptions == 0 && r.Leaks == 0:
		fmt.Fprintln(w, "No errors were found on the image.")
	default:
		if r.Corruptions > 0 {
			fmt.Fprintf(w, "\n%d errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.\n", r.Corruptions)
		}
		if r.Leaks > 0 {
			fmt.Fprintf(w, "\n%d leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n", r.Leaks)
		}
		if r.Errors > 0 {
			fmt.Fprintf(w, "\n%d internal errors have occurred during the check.\n", r.Errors)
		}
	}
	if r.TotalClusters != 0 && r.Allocated != 0 {
		of := func(n, total int64) float64 { return float64(n) * 100 / float64(total) }
		fmt.Fprintf(w, "%d/%d = %.2f%% allocated, %.2f%% fragmented, %.2f%% compressed clusters\n", r.Allocated, r.TotalClusters,
			of(r.Allocated, r.TotalClusters), of(r.Fragmented, r.Allocated), of(r.CompressedClusters, r.Allocated))
	}
	if r.ImageEnd > 0 {
		fmt.Fprintf(w, "Image end offset: %d\n", r.ImageEnd)
	}
}

func (m *img) mapOut() error {
	if err := m.wants(1, 1, oneFile); err != nil {
		return err
	}
	start, length := int64(0), int64(math.MaxInt64)
	for _, x := range []struct {
		names []string
		to    *int64
	}{{[]string{"s", "start-offset"}, &start}, {[]string{"l", "max-length"}, &length}} {
		if v := m.value(x.names...); v != "" {
			var err error
			if *x.to, err = imgtool.ParseSize(v); err != nil {
				return err
			}
		}
	}
	im, err := imgtool.Open(m.source(m.args[0], "f"), imgtool.Access{Share: m.share()})
	if err != nil {
		return err
	}
	if length = min(length, im.Size()-min(start, im.Size())); m.value("output") == "json" {
		err = m.mapJSON(im, start, length)
	} else {
		err = m.mapHuman(im, start, length)
	}
	return errors.Join(err, im.Close())
}

func (m *img) mapJSON(im *imgtool.Image, start, length int64) error {
	sep := "["
	err := im.Map(start, length, func(r imgtool.Run) error {
		fmt.Fprintf(m.out, "%s{ \"start\": %d, \"length\": %d, \"depth\": %d, \"present\": %t, \"zero\": %t, \"data\": %t",
			sep, r.Start, r.Length, r.Depth, r.Present, r.Zero, r.Data)
		if r.Offset >= 0 {
			fmt.Fprintf(m.out, ", \"offset\": %d", r.Offset)
		}
		sep = "},\n"
		return m.ctx.Err()
	})
	if sep == "[" {
		fmt.Fprintln(m.out, "[]")
	} else {
		fmt.Fprintln(m.out, "}]")
	}
	return err
}

func (m *img) mapHuman(im *imgtool.Image, start, length int64) error {
	fmt.Fprintf(m.out, "%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File")
	return im.Map(start, length, func(r imgtool.Run) error {
		switch {
		case r.Data && r.Offset < 0:
			return errors.New("File contains external, encrypted or compressed clusters.")
		case r.Data && !r.Zero:
			hex := func(n int64) string {
				if n == 0 {
					return "0"
				}
				return fmt.Sprintf("%#x", n)
			}
			fmt.Fprintf(m.out, "%-16s%-16s%-16s%s\n", hex(r.Start), hex(r.Length), hex(r.Offset), r.File)
		}
		return m.ctx.Err()
	})
}

func (m *img) compare() error {
	if err := m.wants(2, 2, "Expecting two image file names"); err != nil {
		return imgFailure(m, err)
	}
	var both [2]*imgtool.Image
	for i, f := range []string{"f", "F"} {
		im, err := imgtool.Open(m.source(m.args[i], f), imgtool.Access{Share: m.share(), Cache: m.value("T")})
		if err != nil {
			if i > 0 {
				err = errors.Join(err, both[0].Close())
			}
			return imgFailure(m, err)
		}
		both[i] = im
	}
	show, end := m.progress()
	at, what, err := imgtool.Compare(both[0], both[1], m.has("s"), show)
	differ := what != ""
	if err == nil {
		switch {
		case !differ && both[0].Size() != both[1].Size():
			m.say("Warning: Image size mismatch!\nImages are identical.\n")
		case !differ:
			m.say("Images are identical.\n")
		case at > 0 || what != "Image size mismatch!":
			m.say(what+"\n", at)
		default:
			m.say("%s\n", what)
		}
	}
	end()
	if err = errors.Join(err, both[0].Close(), both[1].Close()); err != nil {
		return imgFailure(m, err)
	}
	if differ {
		return imgStatus(1)
	}
	return nil
}

// imgFailure is an error of compare, for which 1 means that images differ.
func imgFailure(m *img, err error) error {
	fmt.Fprintf(m.errOut, "hvctl: %v\n", err)
	return imgStatus(2)
}

func (m *img) measure() error {
	c := imgtool.Creation{Format: m.value("O"), Size: -1}
	if c.Format == "" {
		c.Format = "raw"
	}
	var err error
	if c.Options, err = creationOptions(&m.options); err != nil {
		return err
	}
	var from *imgtool.Image
	if v := m.value("size"); v != "" {
		if len(m.args) > 0 {
			return errors.New("--size N cannot be used together with a filename")
		}
		if c.Size, err = imgtool.ParseSize(v); err != nil {
			return err
		}
	} else {
		if err := m.wants(1, 1, "Either --size N or one filename must be specified"); err != nil {
			return err
		}
		if from, err = m.openSnapshot(m.source(m.args[0], "f"), m.value("l"), imgtool.Access{Share: m.share()}); err != nil {
			return err
		}
		defer from.Close()
		c.Size = from.Size()
	}
	r, err := imgtool.Measure(c, from)
	if err != nil {
		return err
	}
	if m.value("output") == "json" {
		return writeJSON(m.out, map[string]any{"required": r.Required, "fully-allocated": r.FullyAllocated})
	}
	fmt.Fprintf(m.out, "required size: %d\nfully allocated size: %d\n", r.Required, r.FullyAllocated)
	return nil
}
