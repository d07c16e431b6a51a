package qapi

import "slices"

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
	key    Value // their position tells which came first
}

// ordered appends the members of an object to s in QEMU's order.
func ordered(s []member, object Value) []member {
	for k := range object.Members() {
		s = append(s, member{bucket(k.text()), k})
	}
	slices.SortFunc(s, func(a, b member) int {
		if a.bucket != b.bucket {
			return int(a.bucket) - int(b.bucket)
		}
		return int(b.key.at) - int(a.key.at)
	})
	return s
}
