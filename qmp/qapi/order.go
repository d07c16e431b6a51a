package qapi

import (
	"cmp"
	"iter"
	"slices"
)

// buckets is the size of the hash table in which QEMU keeps an object.
const buckets = 512

// bucket returns the place of a member in that table. QEMU prints an object by
// ascending bucket, within one the last inserted first, and clients that compare
// lines depend on it. Generated encoders have the order built in.
func bucket(name []byte) uint32 {
	v := uint32(0x238F13AF) * uint32(len(name))
	for i, c := range name {
		v += uint32(c) << (i * 5 % 24)
	}
	return (1103515243*v + 12345) % buckets
}

// member is an object's member while they are sorted.
type member struct {
	bucket uint32
	key    Value // its position tells which came first
}

// Ordered yields the members of an object in the order in which QEMU prints them.
func (v Value) Ordered() iter.Seq2[Value, Value] {
	return func(yield func(k, v Value) bool) {
		var room [8]member
		all := room[:0]
		for k := range v.Members() {
			all = append(all, member{bucket(k.text()), k})
		}
		slices.SortFunc(all, func(a, b member) int {
			return cmp.Or(cmp.Compare(a.bucket, b.bucket), cmp.Compare(b.key.at, a.key.at))
		})
		for _, m := range all {
			if !yield(m.key, Value{m.key.doc, m.key.at + 1}) {
				return
			}
		}
	}
}

// Bucket returns where in QEMU's order a name stands.
func Bucket(name string) uint32 { return bucket([]byte(name)) }
