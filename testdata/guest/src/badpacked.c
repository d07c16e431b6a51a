/* Misbehaviour on packed rings. */
#include "guest.h"

static volatile struct pdesc *set(struct blk *b, u16 i, void *addr, u32 len, u16 flags)
{
	volatile struct pdesc *d = &b->q->pdesc[i];
	d->addr = (u64)addr;
	d->len = len;
	d->id = 0;
	d->flags = flags;
	return d;
}

/* A good read of a sector, available but for the head's flags. */
static void good(struct blk *b)
{
	struct blk_req *r = b->req;
	r->hdr.type = BLK_IN;
	r->hdr.sector = 0;
	r->status = 0xff;
	set(b, 0, &r->hdr, 16, 0);
	set(b, 1, temp(4096), 512, D_NEXT | D_WRITE | D_AVAIL);
	set(b, 2, (void *)&r->status, 1, D_WRITE | D_AVAIL);
}

static void go(struct blk *b, u16 flags)
{
	barrier();
	b->q->pdesc[0].flags = flags | D_AVAIL;
	fence();
	vq_notify(b->q);
}

static void id_out_of_range(struct blk *b)
{
	good(b);
	b->q->pdesc[0].id = b->q->pdesc[1].id = b->q->pdesc[2].id = 0xffff;
	go(b, D_NEXT);
}
static void chain_never_ends(struct blk *b)
{
	good(b);
	for (u32 i = 0; i < b->q->size; i++)
		set(b, i, b->req, 16, D_NEXT | D_AVAIL);
	go(b, D_NEXT);
}
static void chain_cut_short(struct blk *b)
{
	good(b);
	b->q->pdesc[1].flags = 0;
	go(b, D_NEXT);
}
static void random_wraps(struct blk *b)
{
	u64 seed = 2463534242;
	good(b);
	for (u32 i = 1; i < b->q->size; i++)
		set(b, i, b->req, 16, (next_random(&seed) & (D_AVAIL | D_USED | D_NEXT | D_INDIRECT)));
	go(b, D_NEXT);
}
static void all_used(struct blk *b)
{
	for (u32 i = 0; i < b->q->size; i++)
		set(b, i, b->req, 16, D_AVAIL | D_USED);
	vq_notify(b->q);
}
static void beyond_ram(struct blk *b)
{
	good(b);
	b->q->pdesc[1].addr = 1ul << 45;
	go(b, D_NEXT);
}
static void address_wraps(struct blk *b)
{
	good(b);
	b->q->pdesc[1].addr = -256ul;
	go(b, D_NEXT);
}
static void huge_length(struct blk *b)
{
	good(b);
	b->q->pdesc[1].len = 0xffffffff;
	go(b, D_NEXT);
}
static void zero_length(struct blk *b)
{
	good(b);
	b->q->pdesc[0].len = b->q->pdesc[1].len = b->q->pdesc[2].len = 0;
	go(b, D_NEXT);
}
static void header_writable(struct blk *b)
{
	good(b);
	go(b, D_NEXT | D_WRITE);
}
static void status_readable(struct blk *b)
{
	good(b);
	b->q->pdesc[2].flags = D_AVAIL;
	go(b, D_NEXT);
}
static void no_status(struct blk *b)
{
	good(b);
	go(b, 0);
}
static void indirect_unnegotiated(struct blk *b)
{
	struct pdesc *t = temp(4096);
	good(b);
	for (u32 i = 0; i < 3; i++)
		t[i] = (struct pdesc){b->q->pdesc[i].addr, b->q->pdesc[i].len, 0, i ? D_WRITE : 0};
	set(b, 0, t, 48, 0);
	go(b, D_INDIRECT);
}
static void indirect_odd_length(struct blk *b)
{
	good(b);
	set(b, 0, b->req, 17, 0);
	go(b, D_INDIRECT);
}
static void indirect_in_chain(struct blk *b)
{
	good(b);
	b->q->pdesc[1].flags |= D_INDIRECT;
	go(b, D_NEXT);
}
static void indirect_beyond_ram(struct blk *b)
{
	good(b);
	set(b, 0, (void *)~0xffful, 160, 0);
	go(b, D_INDIRECT);
}
static void event_noise(struct blk *b)
{
	good(b);
	b->q->driver[0] = 0xffff;
	b->q->driver[1] = 0xffff;
	go(b, D_NEXT);
}
static void changes_while_read(struct blk *b)
{
	good(b);
	go(b, D_NEXT);
	for (u32 i = 0; i < 2000; i++) {
		b->q->pdesc[1].addr = i & 1 ? ~0ul : (u64)b->req;
		b->q->pdesc[1].len = i & 2 ? ~0u : 512;
		b->q->pdesc[0].flags = i & 4 ? D_AVAIL | D_NEXT : D_USED;
		if (i % 100 == 0)
			vq_notify(b->q);
	}
}

#define KIND(f) {#f, f}
const struct bad bad_packed[] = {
	KIND(id_out_of_range), KIND(chain_never_ends), KIND(chain_cut_short), KIND(random_wraps), KIND(all_used), KIND(beyond_ram),
	KIND(address_wraps), KIND(huge_length), KIND(zero_length), KIND(header_writable), KIND(status_readable), KIND(no_status),
	KIND(indirect_unnegotiated), KIND(indirect_odd_length), KIND(indirect_in_chain), KIND(indirect_beyond_ram), KIND(event_noise),
	KIND(changes_while_read),
};
const u32 bad_packed_count = LEN(bad_packed);
