/* Packed virtqueues (virtio 1.2 §2.8). driver and device are the event
 * suppression structures {off_wrap, flags}. */
#include "guest.h"

enum { OFF_WRAP = 0, FLAGS = 1 };
enum { ENABLE = 0, DISABLE = 1, DESC = 2 };

void packed_init(struct vq *q)
{
	memset((void *)q->pdesc, 0, 16 * q->size);
	for (u32 i = 0; i < q->size; i++)
		q->link[i] = i + 1;
	q->free = q->avail = q->used = q->kicked = 0;
	q->nfree = q->size;
	q->avail_wrap = q->used_wrap = 1;
	q->device[OFF_WRAP] = q->device[FLAGS] = 0;
	packed_disarm(q);
}

static u16 avail_flags(u8 wrap) { return wrap ? D_AVAIL : D_USED; }

static void advance(struct vq *q, u16 *pos, u8 *wrap, u32 n)
{
	*pos += n;
	if (*pos >= q->size) {
		*pos -= q->size;
		*wrap ^= 1;
	}
}

static void write_chain(struct vq *q, struct buf *b, u32 n, u16 id)
{
	u16 first_flags = 0, pos = q->avail, first = pos;
	u8 wrap = q->avail_wrap;
	for (u32 k = 0; k < n; k++) {
		volatile struct pdesc *d = &q->pdesc[pos];
		u16 flags = (k + 1 < n ? D_NEXT : 0) | (b[k].write ? D_WRITE : 0) | avail_flags(wrap);
		d->addr = (u64)b[k].addr;
		d->len = b[k].len;
		d->id = id;
		if (k)
			d->flags = flags;
		else
			first_flags = flags;
		advance(q, &pos, &wrap, 1);
	}
	barrier();
	q->pdesc[first].flags = first_flags;
	q->avail = pos;
	q->avail_wrap = wrap;
}

static void write_indirect(struct vq *q, struct buf *b, u32 n, u16 id)
{
	struct pdesc *t = (struct pdesc *)&q->table[4 * id];
	for (u32 k = 0; k < n; k++)
		t[k] = (struct pdesc){(u64)b[k].addr, b[k].len, 0, b[k].write ? D_WRITE : 0};
	volatile struct pdesc *d = &q->pdesc[q->avail];
	d->addr = (u64)t;
	d->len = 16 * n;
	d->id = id;
	barrier();
	d->flags = D_INDIRECT | avail_flags(q->avail_wrap);
	advance(q, &q->avail, &q->avail_wrap, 1);
}

int packed_add(struct vq *q, struct buf *b, u32 n, u64 token)
{
	u32 used = q->indirect && n > 1 ? 1 : n;
	if (q->nfree < used || (used != n && n > 4))
		return -1;
	u16 id = q->free;
	q->free = q->link[id];
	q->nfree -= used;
	q->count[id] = used;
	q->token[id] = token;
	if (used != n)
		write_indirect(q, b, n, id);
	else
		write_chain(q, b, n, id);
	q->kicked += used;
	return 0;
}

/* kicked counts the descriptors since the last notification. */
int packed_wants_kick(struct vq *q)
{
	u16 new = q->avail, old = new - q->kicked, flags = q->device[FLAGS] & 3, event = q->device[OFF_WRAP];
	u16 wrap = event >> 15;
	q->kicked = 0;
	if (flags != DESC || !q->event_idx)
		return flags != DISABLE;
	event &= 0x7fff;
	if (wrap != q->avail_wrap)
		event -= q->size;
	return (u16)(new - event - 1) < (u16)(new - old);
}

static int is_used(struct vq *q)
{
	u16 f = q->pdesc[q->used].flags;
	return !!(f & D_AVAIL) == q->used_wrap && !!(f & D_USED) == q->used_wrap;
}

int packed_poll(struct vq *q, u64 *token, u32 *len)
{
	if (!is_used(q))
		return 0;
	barrier();
	u16 id = q->pdesc[q->used].id;
	if (id >= q->size)
		return 0;
	*len = q->pdesc[q->used].len;
	*token = q->token[id];
	q->link[id] = q->free;
	q->free = id;
	q->nfree += q->count[id];
	advance(q, &q->used, &q->used_wrap, q->count[id]);
	return 1;
}

int packed_arm(struct vq *q)
{
	q->driver[OFF_WRAP] = q->used | q->used_wrap << 15;
	barrier();
	q->driver[FLAGS] = q->event_idx ? DESC : ENABLE;
	fence();
	return is_used(q);
}

void packed_disarm(struct vq *q) { q->driver[FLAGS] = DISABLE; }
