/* Stamped sectors: each says which sector it is, which generation of writes it
 * is from, and that it is whole. */
#include "guest.h"

#define MAGIC_DATA 0x617461642d677668ul
#define MAGIC_RECORD 0x6472636572677668ul

struct stamp {
	u64 magic, sector, gen, extra, fill[59], sum;
};

struct area {
	struct blk b;
	u64 first, sectors;
	u32 bs;
	u8 *data;
	u64 low, high;          /* generations that are right; then those seen */
	u64 bad;
	u64 seen_low, seen_high;
};

static u64 stamp_sum(struct stamp *s)
{
	u64 sum = 0x9e3779b97f4a7c15ul, *w = (u64 *)s;
	for (u32 i = 0; i < 63; i++)
		sum = (sum << 7 | sum >> 57) ^ w[i];
	return sum;
}

static void stamp_make(struct stamp *s, u64 magic, u64 sector, u64 gen, u64 extra)
{
	u64 x = sector * 0x9e3779b97f4a7c15ul + gen + 1;
	*s = (struct stamp){.magic = magic, .sector = sector, .gen = gen, .extra = extra};
	for (u32 i = 0; i < LEN(s->fill); i++)
		s->fill[i] = x = x * 6364136223846793005ul + 1442695040888963407ul;
	s->sum = stamp_sum(s);
}

static void check(struct area *x, u64 sector, struct stamp *s)
{
	const char *what = NULL;
	if (s->magic != MAGIC_DATA || s->sum != stamp_sum(s))
		what = "torn";
	else if (s->sector != sector)
		what = "misplaced";
	else if (s->gen < x->low || s->gen > x->high)
		what = "lost";
	if (!what) {
		x->seen_low = min(x->seen_low, s->gen);
		x->seen_high = s->gen > x->seen_high ? s->gen : x->seen_high;
	} else if (x->bad++ < 8) {
		fail("blk %s sector=%lu says=%lu gen=%lu wanted=%lu..%lu", what, sector, s->sector, s->gen, x->low, x->high);
	}
}

static u32 span(struct area *x, u64 sector) { return min(x->bs / 512, x->first + x->sectors - sector); }

static void submit(struct area *x, u32 slot, u32 type, u64 sector, u64 gen)
{
	u8 *data = x->data + (u64)slot * x->bs;
	u32 n = span(x, sector);
	for (u32 i = 0; type == BLK_OUT && i < n; i++)
		stamp_make((struct stamp *)data + i, MAGIC_DATA, sector + i, gen, 0);
	blk_submit(&x->b, slot, type, sector, data, n * 512);
}

static void finish(struct area *x, u32 slot, u32 type)
{
	struct blk_req *r = &x->b.req[slot];
	struct stamp *s = (struct stamp *)(x->data + (u64)slot * x->bs);
	if (r->status && x->bad++ < 8)
		fail("blk status=%u type=%u sector=%lu", r->status, type, r->sector);
	for (u32 i = 0; !r->status && type == BLK_IN && i < span(x, r->sector); i++)
		check(x, r->sector + i, &s[i]);
}

/* Writes the area in generation gen, or reads and checks it. */
static void pass(struct area *x, u32 type, u64 gen)
{
	u64 sector = x->first, end = sector + x->sectors;
	u32 busy = 0;
	for (; busy < x->b.depth && sector < end; busy++, sector += x->bs / 512)
		submit(x, busy, type, sector, gen);
	vq_kick(x->b.q);
	while (busy) {
		u32 slot = blk_reap(&x->b);
		finish(x, slot, type);
		busy--;
		if (sector < end) {
			submit(x, slot, type, sector, gen);
			vq_kick(x->b.q);
			sector += x->bs / 512;
			busy++;
		}
	}
}

static void flush(struct area *x)
{
	int status = blk_sync(&x->b, BLK_FLUSH, 0, NULL, 0);
	if (status)
		x->bad += fail("blk flush status=%d", status);
}

static int open_area(struct args *a, struct area *x)
{
	*x = (struct area){.first = arg_num(a, "sector", 0), .bs = arg_num(a, "bs", 4096), .seen_low = ~0ul};
	if (blk_open(a, &x->b, arg_num(a, "depth", 16)))
		return 1;
	x->sectors = arg_num(a, "size", 1 << 20) / 512;
	if (!x->bs || x->bs % 512 || !x->sectors || x->first + x->sectors > x->b.capacity)
		return fail("area of %lu sectors at %lu, bs=%u, does not suit the disk", x->sectors, x->first, x->bs);
	x->data = temp((u64)x->bs * x->b.depth);
	return 0;
}

int cmd_blk_verify(struct args *a)
{
	struct area x;
	u64 gen = arg_num(a, "seed", 1);
	if (open_area(a, &x))
		return 1;
	x.low = x.high = gen;
	if (arg_num(a, "write", 1)) {
		pass(&x, BLK_OUT, gen);
		flush(&x);
	}
	pass(&x, BLK_IN, gen);
	say("blk.verify dev=%lu sector=%lu size=%lu seed=%lu bad=%lu", arg_num(a, "dev", 0), x.first, x.sectors * 512, gen, x.bad);
	return x.bad != 0;
}

/* The first sector records the last generation that was flushed; the area
 * starts 4 KiB further. Returns that generation, 0 if there is none. */
static u64 read_record(struct area *x, struct stamp *rec)
{
	int status = blk_sync(&x->b, BLK_IN, x->first - 8, rec, 512);
	if (status)
		x->bad += fail("blk record status=%d", status);
	int good = rec->magic == MAGIC_RECORD && rec->sum == stamp_sum(rec) && rec->extra == x->sectors;
	return good ? rec->gen : 0;
}

static void write_record(struct area *x, struct stamp *rec, u64 gen)
{
	stamp_make(rec, MAGIC_RECORD, x->first - 8, gen, x->sectors);
	int status = blk_sync(&x->b, BLK_OUT, x->first - 8, rec, 512);
	if (status)
		x->bad += fail("blk record status=%d", status);
	flush(x);
}

int cmd_blk_torture(struct args *a)
{
	struct area x;
	struct stamp *rec = temp(512);
	u64 dev = arg_num(a, "dev", 0), n = arg_num(a, "n", ~0ul), every = arg_num(a, "every", 1);
	if (open_area(a, &x))
		return 1;
	if (x.sectors <= 8)
		return fail("blk.torture needs more than 4 KiB");
	x.first += 8;
	x.sectors -= 8;
	u64 gen = read_record(&x, rec);
	if (gen) {
		x.low = gen;
		x.high = ~0ul;
		pass(&x, BLK_IN, 0);
	}
	say("blk.torture start dev=%lu sectors=%lu flushed=%lu newest=%lu bad=%lu", dev, x.sectors, gen, x.seen_high, x.bad);
	/* One beyond all that is there, so that a write which comes late is seen
	 * to be old. */
	u64 last = gen;
	for (gen = x.seen_high + 1; n && !x.bad; n--, gen++) {
		pass(&x, BLK_OUT, gen);
		flush(&x);
		write_record(&x, rec, gen);
		last = gen;
		if (gen % every == 0 && !x.bad)
			say("blk.torture dev=%lu gen=%lu", dev, gen);
	}
	x.low = x.high = last;
	if (last && !x.bad)
		pass(&x, BLK_IN, 0);
	say("blk.torture end dev=%lu gen=%lu bad=%lu", dev, last, x.bad);
	return x.bad != 0;
}
