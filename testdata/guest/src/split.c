/* Split virtqueues (virtio 1.2 §2.7). driver is {flags, idx, ring[], used_event},
 * device {flags, idx, {u32 id, len}[], avail_event}. */
#include "guest.h"

enum { FLAGS = 0, IDX = 1, RING = 2 };

static volatile u16 *used_event(struct vq *q) { return &q->driver[RING + q->size]; }
static volatile u16 *avail_event(struct vq *q) { return &q->device[RING + 4 * q->size]; }

void split_init(struct vq *q)
{
	memset((void *)q->desc, 0, 16 * q->size);
	memset((void *)q->driver, 0, 6 + 2 * q->size);
	memset((void *)q->device, 0, 6 + 8 * q->size);
	for (u32 i = 0; i < q->size; i++)
		q->link[i] = i + 1;
	q->free = q->avail = q->used = q->kicked = 0;
	q->nfree = q->size;
	split_disarm(q);
}

static void fill(volatile struct desc *d, struct buf *b, u16 flags, u16 next)
{
	d->addr = (u64)b->addr;
	d->len = b->len;
	d->flags = flags | (b->write ? D_WRITE : 0);
	d->next = next;
}

int split_add(struct vq *q, struct buf *b, u32 n, u64 token)
{
	u32 used = q->indirect && n > 1 ? 1 : n;
	if (q->nfree < used || (used != n && n > 4))
		return -1;
	u16 head = q->free, i = head;
	if (used != n) {
		struct desc *t = &q->table[4 * head];
		for (u32 k = 0; k < n; k++)
			fill(&t[k], &b[k], k + 1 < n ? D_NEXT : 0, k + 1);
		fill(&q->desc[head], &(struct buf){t, 16 * n, 0}, D_INDIRECT, 0);
		i = q->link[head];
	} else {
		for (u32 k = 0; k < n; k++) {
			fill(&q->desc[i], &b[k], k + 1 < n ? D_NEXT : 0, q->link[i]);
			i = q->link[i];
		}
	}
	q->free = i;
	q->nfree -= used;
	q->count[head] = used;
	q->token[head] = token;
	q->driver[RING + q->avail % q->size] = head;
	barrier();
	q->driver[IDX] = ++q->avail;
	return 0;
}

int split_wants_kick(struct vq *q)
{
	u16 old = q->kicked, new = q->avail;
	q->kicked = new;
	if (q->event_idx)
		return (u16)(new - *avail_event(q) - 1) < (u16)(new - old);
	return !(q->device[FLAGS] & 1);
}

int split_poll(struct vq *q, u64 *token, u32 *len)
{
	if (q->device[IDX] == q->used)
		return 0;
	barrier();
	volatile u32 *e = (volatile u32 *)&q->device[RING + 4 * (q->used++ % q->size)];
	u16 head = e[0], last = head;
	*len = e[1];
	*token = q->token[head];
	for (u32 k = 1; k < q->count[head]; k++)
		last = q->link[last];
	q->link[last] = q->free;
	q->free = head;
	q->nfree += q->count[head];
	return 1;
}

int split_arm(struct vq *q)
{
	*used_event(q) = q->used;
	q->driver[FLAGS] = 0;
	fence();
	return q->device[IDX] != q->used;
}

void split_disarm(struct vq *q)
{
	*used_event(q) = q->used - 1;
	q->driver[FLAGS] = 1;
}
