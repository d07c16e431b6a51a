/* virtio-blk (virtio 1.2 §5.2): a request engine and the simple commands. */
#include "guest.h"

enum {
	F_RO = 5, F_BLK_SIZE = 6, F_FLUSH = 9, F_TOPOLOGY = 10, F_CONFIG_WCE = 11, F_MQ = 12, F_DISCARD = 13, F_ZEROES = 14,
};

int blk_open(struct args *a, struct blk *b, u32 depth)
{
	u64 wanted = BIT(F_RO) | BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_TOPOLOGY) | BIT(F_CONFIG_WCE) | BIT(F_MQ) | BIT(F_DISCARD) |
		     BIT(F_ZEROES);
	*b = (struct blk){0};
	b->dev = vdev_open(a, VIRTIO_BLK, wanted);
	if (!b->dev)
		return 1;
	b->q = vdev_queue(b->dev, arg_num(a, "queue", 0));
	if (!b->q)
		return 1;
	b->depth = min(depth, b->q->indirect ? b->q->size : b->q->size / 3);
	if (!b->depth)
		return fail("queue of %u is too small", b->q->size);
	b->req = temp(sizeof(*b->req) * (b->depth + 1));
	b->capacity = rd64(b->dev->config);
	vdev_start(b->dev);
	return 0;
}

int blk_submit(struct blk *b, u32 slot, u32 type, u64 sector, void *data, u32 len)
{
	struct blk_req *r = &b->req[slot];
	r->hdr.type = type;
	r->hdr.sector = r->sector = sector;
	r->status = 0xff;
	struct buf v[3] = {{&r->hdr, sizeof(r->hdr), 0}};
	u32 n = 1;
	if (len)
		v[n++] = (struct buf){data, len, type == BLK_IN || type == BLK_GET_ID};
	v[n++] = (struct buf){(void *)&r->status, 1, 1};
	return vq_add(b->q, v, n, slot);
}

int blk_reap(struct blk *b)
{
	u64 slot;
	u32 len;
	for (u64 n = 1; !vq_poll(b->q, &slot, &len); n++) {
		vq_wait(b->q);
		if (!(n & 0xfffff) && vdev_status(b->dev) & NEEDS_RESET) {
			fail("blk needs a reset");
			stop();
		}
	}
	return slot;
}

int blk_sync(struct blk *b, u32 type, u64 sector, void *data, u32 len)
{
	if (blk_submit(b, b->depth, type, sector, data, len))
		return 0xff;
	vq_kick(b->q);
	return b->req[blk_reap(b)].status;
}

int cmd_blk_info(struct args *a)
{
	struct blk b;
	char id[24] = {0};
	if (blk_open(a, &b, 1))
		return 1;
	u64 c = b.dev->config;
	int status = blk_sync(&b, BLK_GET_ID, 0, id, 20);
	say("blk.info dev=%lu capacity=%lu blk_size=%u queues=%u qsize=%u ro=%u features=0x%lx offered=0x%lx serial=\"%s\" status=%d",
	    arg_num(a, "dev", 0), b.capacity, rd32(c + 20), b.dev->features & BIT(F_MQ) ? rd16(c + 34) : 1, b.q->size,
	    !!(b.dev->features & BIT(F_RO)), b.dev->features, b.dev->offered, id, status);
	return status;
}

static int transfer(struct args *a, u32 type)
{
	struct blk b;
	u64 sector = arg_num(a, "sector", 0), size = arg_num(a, "size", 512), seed = arg_num(a, "seed", 1), sum = 0;
	u64 *data = temp(size);
	if (blk_open(a, &b, 1))
		return 1;
	if (type == BLK_OUT)
		for (u64 i = 0; i < size / 8; i++)
			data[i] = next_random(&seed);
	int status = blk_sync(&b, type, sector, data, size);
	for (u64 i = 0; i < size / 8; i++)
		sum = (sum << 1 | sum >> 63) ^ data[i];
	say("%s dev=%lu sector=%lu size=%lu sum=0x%lx first=0x%016lx status=%d", a->key[0], arg_num(a, "dev", 0), sector, size, sum,
	    data[0], status);
	return status != (int)arg_num(a, "expect", 0);
}

int cmd_blk_read(struct args *a) { return transfer(a, BLK_IN); }
int cmd_blk_write(struct args *a) { return transfer(a, BLK_OUT); }

int cmd_blk_flush(struct args *a)
{
	struct blk b;
	if (blk_open(a, &b, 1))
		return 1;
	int status = blk_sync(&b, BLK_FLUSH, 0, NULL, 0);
	say("blk.flush dev=%lu status=%d", arg_num(a, "dev", 0), status);
	return status;
}

static int range(struct args *a, u32 type)
{
	struct blk b;
	struct { u64 sector; u32 count, flags; } seg = {arg_num(a, "sector", 0), arg_num(a, "size", 4096) / 512, arg_num(a, "unmap", 0)};
	if (blk_open(a, &b, 1))
		return 1;
	int status = blk_sync(&b, type, 0, &seg, sizeof(seg));
	say("%s dev=%lu sector=%lu size=%lu status=%d", a->key[0], arg_num(a, "dev", 0), seg.sector, seg.count * 512ul, status);
	return status != (int)arg_num(a, "expect", 0);
}

int cmd_blk_discard(struct args *a) { return range(a, BLK_DISCARD); }
int cmd_blk_zeroes(struct args *a) { return range(a, BLK_ZEROES); }

struct bench {
	struct blk b;
	u32 type, bs;
	u64 blocks, next, seed;
	int random;
	u8 *data;
};

static void bench_submit(struct bench *x, u32 slot)
{
	u64 block = (x->random ? next_random(&x->seed) >> 16 : x->next++) % x->blocks;
	blk_submit(&x->b, slot, x->type, block * (x->bs / 512), x->data + (u64)slot * x->bs, x->type == BLK_FLUSH ? 0 : x->bs);
}

/* Keeps depth requests in flight until n are done. Returns how many failed. */
static u64 bench_run(struct bench *x, u64 n)
{
	struct blk *b = &x->b;
	u64 submitted = 0, errors = 0;
	for (; submitted < min(n, b->depth); submitted++)
		bench_submit(x, submitted);
	vq_kick(b->q);
	for (u64 done = 0; done < n;) {
		u64 slot = blk_reap(b);
		u32 len;
		do {
			done++;
			errors += b->req[slot].status != 0;
			if (submitted < n) {
				submitted++;
				bench_submit(x, slot);
			}
		} while (vq_poll(b->q, &slot, &len));
		vq_kick(b->q);
	}
	return errors;
}

int cmd_blk_bench(struct args *a)
{
	struct bench x = {.bs = arg_num(a, "bs", 4096), .seed = arg_num(a, "seed", 1) | 1ul << 32};
	char *op = arg_str(a, "op", "read");
	u64 n = arg_num(a, "n", 100000);
	x.type = streq(op, "write") ? BLK_OUT : streq(op, "flush") ? BLK_FLUSH : BLK_IN;
	x.random = arg_num(a, "rand", 1);
	if (blk_open(a, &x.b, arg_num(a, "depth", 1)))
		return 1;
	x.blocks = min(arg_num(a, "span", ~0ul), x.b.capacity * 512) / x.bs;
	if (!x.blocks || x.bs % 512)
		return fail("bs=%u does not suit the disk", x.bs);
	x.data = temp((u64)x.bs * x.b.depth);
	u64 khz = tsc_khz(), from = rdtsc(), errors = bench_run(&x, n), cycles = rdtsc() - from;
	say("blk.bench dev=%lu op=%s bs=%u depth=%u n=%lu queue=%lu errors=%lu cycles=%lu tsc_khz=%lu iops=%lu", arg_num(a, "dev", 0), op,
	    x.bs, x.b.depth, n, arg_num(a, "queue", 0), errors, cycles, khz, n * khz / (cycles / 1000 + 1));
	return errors != 0;
}
