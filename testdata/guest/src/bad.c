/* A driver that misbehaves on purpose: what it does to split rings, and the
 * command that goes through all kinds and sees whether the device recovers. */
#include "guest.h"

static void set(struct blk *b, u16 i, u64 addr, u32 len, u16 flags, u16 next)
{
	volatile struct desc *d = &b->q->desc[i];
	d->addr = addr;
	d->len = len;
	d->flags = flags;
	d->next = next;
}

static void offer(struct blk *b, u16 head)
{
	b->q->driver[2 + b->q->avail % b->q->size] = head;
	barrier();
	b->q->driver[1] = ++b->q->avail;
	fence();
	vq_notify(b->q);
}

/* A good read of a sector in descriptors 0 to 2, to be spoilt. */
static void good(struct blk *b)
{
	struct blk_req *r = b->req;
	r->hdr.type = BLK_IN;
	r->hdr.sector = 0;
	r->status = 0xff;
	set(b, 0, (u64)&r->hdr, 16, D_NEXT, 1);
	set(b, 1, (u64)temp(4096), 512, D_NEXT | D_WRITE, 2);
	set(b, 2, (u64)&r->status, 1, D_WRITE, 0);
}

static void head_out_of_range(struct blk *b) { offer(b, b->q->size); }
static void head_ffff(struct blk *b) { offer(b, 0xffff); }
static void next_out_of_range(struct blk *b)
{
	good(b);
	set(b, 0, b->q->desc[0].addr, 16, D_NEXT, b->q->size + 1);
	offer(b, 0);
}
static void loop_of_two(struct blk *b)
{
	good(b);
	set(b, 1, b->q->desc[1].addr, 512, D_NEXT | D_WRITE, 0);
	offer(b, 0);
}
static void loop_of_one(struct blk *b)
{
	good(b);
	set(b, 0, b->q->desc[0].addr, 16, D_NEXT, 0);
	offer(b, 0);
}
static void zero_length(struct blk *b)
{
	good(b);
	for (u16 i = 0; i < 3; i++)
		b->q->desc[i].len = 0;
	offer(b, 0);
}
static void beyond_ram(struct blk *b)
{
	good(b);
	b->q->desc[1].addr = 1ul << 45;
	offer(b, 0);
}
static void address_wraps(struct blk *b)
{
	good(b);
	b->q->desc[1].addr = -256ul;
	offer(b, 0);
}
static void address_is_mmio(struct blk *b)
{
	good(b);
	b->q->desc[1].addr = b->dev->common;
	offer(b, 0);
}
static void status_beyond_ram(struct blk *b)
{
	good(b);
	b->q->desc[2].addr = ~0ul;
	offer(b, 0);
}
static void header_beyond_ram(struct blk *b)
{
	good(b);
	b->q->desc[0].addr = 1ul << 50;
	offer(b, 0);
}
static void huge_length(struct blk *b)
{
	good(b);
	b->q->desc[1].len = 0xffffffff;
	offer(b, 0);
}
static void crosses_ram_end(struct blk *b)
{
	good(b);
	b->q->desc[1].addr = ram_end - 256;
	b->q->desc[1].len = 64 << 20;
	offer(b, 0);
}
static void header_writable(struct blk *b)
{
	good(b);
	b->q->desc[0].flags |= D_WRITE;
	offer(b, 0);
}
static void status_readable(struct blk *b)
{
	good(b);
	b->q->desc[2].flags &= ~D_WRITE;
	offer(b, 0);
}
static void data_readable(struct blk *b)
{
	good(b);
	b->q->desc[1].flags &= ~D_WRITE;
	offer(b, 0);
}
static void readable_after_writable(struct blk *b)
{
	good(b);
	set(b, 2, b->q->desc[2].addr, 1, D_NEXT | D_WRITE, 3);
	set(b, 3, b->q->desc[0].addr, 16, 0, 0);
	offer(b, 0);
}
static void avail_jump(struct blk *b)
{
	b->q->avail += b->q->size + 1;
	b->q->driver[1] = b->q->avail;
	fence();
	vq_notify(b->q);
}
static void avail_backwards(struct blk *b)
{
	b->q->driver[1] = --b->q->avail;
	fence();
	vq_notify(b->q);
}
static void short_header(struct blk *b)
{
	good(b);
	b->q->desc[0].len = 7;
	offer(b, 0);
}
static void no_status(struct blk *b)
{
	good(b);
	set(b, 0, b->q->desc[0].addr, 16, 0, 0);
	offer(b, 0);
}
static void unknown_type(struct blk *b)
{
	good(b);
	b->req->hdr.type = 0xdeadbeef;
	offer(b, 0);
}
static void beyond_capacity(struct blk *b)
{
	good(b);
	b->req->hdr.sector = ~0ul;
	offer(b, 0);
}
static void odd_length(struct blk *b)
{
	good(b);
	b->q->desc[1].len = 511;
	offer(b, 0);
}
static void unnegotiated_indirect(struct blk *b)
{
	good(b);
	set(b, 3, (u64)&b->q->desc[0], 48, D_INDIRECT, 0);
	offer(b, 3);
}
static void indirect_odd_length(struct blk *b)
{
	good(b);
	set(b, 3, (u64)&b->q->desc[0], 47, D_INDIRECT, 0);
	offer(b, 3);
}
static void indirect_and_next(struct blk *b)
{
	good(b);
	set(b, 3, (u64)&b->q->desc[0], 48, D_INDIRECT | D_NEXT, 0);
	offer(b, 3);
}
static void indirect_nested(struct blk *b)
{
	set(b, 3, (u64)&b->q->desc[3], 16, D_INDIRECT, 0);
	offer(b, 3);
}
static void indirect_huge(struct blk *b)
{
	good(b);
	set(b, 3, (u64)&b->q->desc[0], 0xfffffff0, D_INDIRECT, 0);
	offer(b, 3);
}
static void same_head_twice(struct blk *b)
{
	good(b);
	offer(b, 0);
	offer(b, 0);
}
static void changes_while_read(struct blk *b)
{
	good(b);
	for (u32 i = 0; i < 2000; i++) {
		b->q->desc[1].addr = i & 1 ? ~0ul : (u64)b->req;
		b->q->desc[1].len = i & 2 ? ~0u : 512;
		b->q->desc[0].next = i & 4 ? 0xffff : 1;
		if (i % 100 == 0)
			offer(b, 0);
	}
}
static void noise(struct blk *b)
{
	u64 seed = 88172645463325252ul;
	for (u32 i = 0; i < b->q->size; i++)
		set(b, i, next_random(&seed) & 0x3fffff, next_random(&seed), next_random(&seed) & 7, next_random(&seed) % b->q->size);
	/* Nothing that the device may write to: the program lies there too. */
	for (u32 i = 0; i < b->q->size; i++)
		b->q->desc[i].flags &= ~D_WRITE;
	for (u32 i = 0; i < b->q->size; i++)
		offer(b, i);
}

#define KIND(f) {#f, f}
const struct bad bad_split[] = {
	KIND(head_out_of_range), KIND(head_ffff), KIND(next_out_of_range), KIND(loop_of_two), KIND(loop_of_one), KIND(zero_length),
	KIND(beyond_ram), KIND(address_wraps), KIND(address_is_mmio), KIND(status_beyond_ram), KIND(header_beyond_ram), KIND(huge_length),
	KIND(crosses_ram_end), KIND(header_writable), KIND(status_readable), KIND(data_readable), KIND(readable_after_writable),
	KIND(avail_jump), KIND(avail_backwards), KIND(short_header), KIND(no_status), KIND(unknown_type), KIND(beyond_capacity),
	KIND(odd_length), KIND(unnegotiated_indirect), KIND(indirect_odd_length), KIND(indirect_and_next), KIND(indirect_nested),
	KIND(indirect_huge), KIND(same_head_twice), KIND(changes_while_read), KIND(noise),
};
const u32 bad_split_count = LEN(bad_split);

/* Does one thing to a fresh device, says what came of it, and tries a good
 * request after a reset. */
static int try(struct args *a, const struct bad *k, u32 kind)
{
	struct blk b;
	u64 token, end;
	u32 len = 0;
	int answered = 0, recovered = 0;
	if (blk_open(a, &b, 4))
		return 1;
	k->f(&b);
	end = rdtsc() + ms_to_tsc(arg_num(a, "ms", 30));
	while (rdtsc() < end && !(vdev_status(&b.dev[0]) & NEEDS_RESET) && !answered)
		answered = b.dev->live && vq_poll(b.q, &token, &len);
	u8 status = vdev_status(b.dev);
	u8 request = b.req->status;
	temp_release();
	if (!blk_open(a, &b, 4)) {
		void *data = temp(512);
		if (!blk_submit(&b, 0, BLK_IN, 0, data, 512)) {
			vq_kick(b.q);
			recovered = vq_get(b.q, &token, &len, 5000) && b.req->status == 0;
		}
	}
	vdev_reset(b.dev);
	temp_release();
	say("badring kind=%u name=%s status=0x%02x needs_reset=%u answered=%u request=%u recovered=%u", kind, k->name, status,
	    !!(status & NEEDS_RESET), answered, request, recovered);
	return !recovered;
}

/* kind=N or NAME is one, without it all are tried. */
int cmd_badring(struct args *a)
{
	char *kind = arg_str(a, "kind", "all");
	int packed = arg_num(a, "packed", 0), failed = 0;
	u32 tried = 0, rings = packed ? bad_packed_count : bad_split_count;
	for (u32 i = 0; i < rings + bad_regs_count; i++) {
		const struct bad *k = i >= rings ? &bad_regs[i - rings] : packed ? &bad_packed[i] : &bad_split[i];
		int digit = kind[0] >= '0' && kind[0] <= '9';
		if (streq(kind, "all") || streq(kind, k->name) || (digit && parse_num(kind) == i)) {
			failed |= try(a, k, i);
			tried++;
		}
	}
	say("badring done tried=%u failed=%d", tried, failed);
	return failed || !tried;
}
