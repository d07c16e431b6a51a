package qcow2

// req is the memory of one request, kept for the next.
type req struct {
	iov   [][]byte
	one   [1][]byte
	alloc allocation
	buf   []byte // data around a write that makes its clusters whole
}

func (im *Image) getReq() *req  { return im.reqs.Get().(*req) }
func (im *Image) putReq(r *req) { clear(r.iov); r.one[0] = nil; im.reqs.Put(r) }

// vector is a list of buffers that is consumed from its front.
type vector struct {
	v    [][]byte
	skip int // of v[0]
}

func length(v [][]byte) (n int64) {
	for _, b := range v {
		n += int64(len(b))
	}
	return n
}

// appendTo adds the next n bytes to iov and goes past them.
func (v *vector) appendTo(iov [][]byte, n int64) [][]byte {
	for n > 0 {
		b := v.v[0][v.skip:]
		if int64(len(b)) > n {
			b = b[:n]
			v.skip += int(n)
		} else {
			v.v, v.skip = v.v[1:], 0
		}
		if len(b) > 0 {
			iov = append(iov, b)
		}
		n -= int64(len(b))
	}
	return iov
}

// take returns the next n bytes and goes past them; the result is good until the next take.
func (v *vector) take(r *req, n, all int64) [][]byte {
	if v.skip == 0 && n == all {
		t := v.v
		v.v = nil
		return t
	}
	clear(r.iov)
	r.iov = v.appendTo(r.iov[:0], n)
	return r.iov
}

func zero(v [][]byte) {
	for _, b := range v {
		clear(b)
	}
}

// scatter copies b into v.
func scatter(v [][]byte, b []byte) {
	for _, d := range v {
		b = b[copy(d, b):]
	}
}

// gather copies v into b.
func gather(b []byte, v [][]byte) {
	for _, s := range v {
		b = b[copy(b, s):]
	}
}
