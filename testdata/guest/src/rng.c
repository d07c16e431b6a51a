/* virtio-rng (virtio 1.2 §5.4). */
#include "guest.h"

int cmd_rng(struct args *a)
{
	struct vdev *d = vdev_open(a, VIRTIO_RNG, 0);
	u64 want = min(arg_num(a, "n", 64), 1 << 20), token;
	struct vq *q = d ? vdev_queue(d, 0) : NULL;
	u8 *data = temp(want + 8);
	if (!q)
		return 1;
	vdev_start(d);
	u64 got = 0, khz = tsc_khz(), from = rdtsc();
	u32 len, requests = 0, ones = 0;
	for (; got < want; got += len, requests++) {
		vq_add(q, &(struct buf){data + got, want - got, 1}, 1, 0);
		vq_kick(q);
		while (!vq_poll(q, &token, &len))
			vq_wait(q);
		if (!len || len > want - got)
			return fail("rng gave %u bytes of %lu", len, want - got);
	}
	u64 cycles = rdtsc() - from;
	for (u64 i = 0; i < want; i++)
		for (u8 v = data[i]; v; v &= v - 1)
			ones++;
	say("rng dev=%lu n=%lu requests=%u ones=%u first=0x%016lx cycles=%lu tsc_khz=%lu", arg_num(a, "dev", 0), want, requests, ones,
	    *(u64 *)data, cycles, khz);
	return 0;
}
