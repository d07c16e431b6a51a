/* The virtio PCI transport (virtio 1.2 §4.1) and what both rings share. */
#include "guest.h"

static struct vdev devs[32];
static u32 count;

/* Types of the transitional ids 0x1000 up. */
static u32 type_of(struct pci *p)
{
	if (p->vendor != 0x1af4 || p->device < 0x1000 || p->device > 0x107f)
		return 0;
	return p->device >= 0x1040 ? (u32)p->device - 0x1040 : pci_read(p, 0x2c) >> 16;
}

static u64 window(struct pci *p, u32 cap)
{
	u64 bar = pci_bar(p, pci_read(p, cap + 4) & 0xff, NULL), addr = bar + pci_read(p, cap + 8), size = pci_read(p, cap + 12);
	if (!bar)
		return 0;
	if (addr + size > 1ul << 32)
		map_range(addr, size);
	return addr;
}

static void find_msix(struct vdev *d)
{
	u32 cap = pci_cap(d->pci, 0x11, 0);
	if (!cap)
		return;
	u32 table = pci_read(d->pci, cap + 4);
	d->msix_size = (pci_read16(d->pci, cap + 2) & 0x7ff) + 1;
	d->msix = pci_bar(d->pci, table & 7, NULL) + (table & ~7u);
	if (d->msix + 16 * d->msix_size > 1ul << 32)
		map_range(d->msix, 16 * d->msix_size);
}

static void probe(struct pci *p, u32 type)
{
	struct vdev *d = &devs[count];
	*d = (struct vdev){.pci = p, .type = type};
	pci_write16(p, 4, pci_read16(p, 4) | 0x406); /* memory, bus master, no INTx */
	for (u32 cap = pci_cap(p, 9, 0); cap; cap = pci_cap(p, 9, cap)) {
		switch (pci_read(p, cap) >> 24) {
		case 1: d->common = window(p, cap); break;
		case 2:
			d->notify = window(p, cap);
			d->notify_mul = pci_read(p, cap + 16);
			break;
		case 3: d->isr = window(p, cap); break;
		case 4: d->config = window(p, cap); break;
		}
	}
	if (!d->common || !d->notify) {
		fail("virtio device at %02x:%02x has no modern interface", p->bus, p->devfn);
		return;
	}
	find_msix(d);
	count++;
}

static void probe_all(void)
{
	if (!pci_count)
		pci_scan();
	for (u32 i = 0; i < pci_count && !count; i++)
		for (u32 j = i; j < pci_count && count < LEN(devs); j++)
			if (type_of(&pci_devs[j]))
				probe(&pci_devs[j], type_of(&pci_devs[j]));
}

struct vdev *vdev_any(u32 n)
{
	if (!count)
		probe_all();
	return n < count ? &devs[n] : NULL;
}

struct vdev *vdev_find(u32 type, u32 n)
{
	struct vdev *d;
	u32 seen = 0;
	for (u32 i = 0; (d = vdev_any(i)); i++)
		if (d->type == type && seen++ == n)
			return d;
	fail("no virtio device type=%u dev=%u", type, n);
	return NULL;
}

u8 vdev_status(struct vdev *d) { return rd8(d->common + C_STATUS); }

int vdev_reset(struct vdev *d)
{
	d->live = 0;
	wr8(d->common + C_STATUS, 0);
	u64 end = rdtsc() + ms_to_tsc(5000);
	while (vdev_status(d)) {
		if (rdtsc() > end)
			return fail("virtio reset did not end");
		relax();
	}
	return 0;
}

/* MSI-X entry i raises vector VECTOR_MSI + i. */
static void enable_msix(struct vdev *d)
{
	u32 cap = pci_cap(d->pci, 0x11, 0), id = rd32(LAPIC + 0x20) >> 24;
	for (u32 i = 0; i < d->msix_size; i++) {
		wr32(d->msix + 16 * i, LAPIC | id << 12);
		wr32(d->msix + 16 * i + 4, 0);
		wr32(d->msix + 16 * i + 8, VECTOR_MSI + i % 64);
		wr32(d->msix + 16 * i + 12, 0);
	}
	pci_write16(d->pci, cap + 2, 0x8000 | (d->msix_size - 1));
	wr16(d->common + C_MSIX, NO_VECTOR);
}

int vdev_negotiate(struct vdev *d, u64 wanted)
{
	if (vdev_reset(d))
		return 1;
	wr8(d->common + C_STATUS, ACKNOWLEDGE);
	wr8(d->common + C_STATUS, ACKNOWLEDGE | DRIVER);
	wr32(d->common + C_DFSELECT, 0);
	d->offered = rd32(d->common + C_DF);
	wr32(d->common + C_DFSELECT, 1);
	d->offered |= (u64)rd32(d->common + C_DF) << 32;
	d->features = d->offered & wanted;
	wr32(d->common + C_GFSELECT, 0);
	wr32(d->common + C_GF, d->features);
	wr32(d->common + C_GFSELECT, 1);
	wr32(d->common + C_GF, d->features >> 32);
	wr8(d->common + C_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	if (!(vdev_status(d) & FEATURES_OK))
		return fail("virtio features=0x%lx refused", d->features);
	if (d->irq && d->msix_size)
		enable_msix(d);
	return 0;
}

static void q_alloc(struct vdev *d, u16 index, u16 size)
{
	/* Descriptors, then both other parts, each on a page of its own; then
	 * what only the driver sees. Kept for the next time. */
	if (d->q[index] && d->q[index]->size >= size)
		return;
	u64 desc = align(16 * size, 4096), driver = align(6 + 2 * size, 4096), device = align(6 + 8 * size, 4096);
	u8 *m = alloc(desc + driver + device);
	struct vq *q = d->q[index] = alloc(sizeof(*q) + size * (2 + 2 + 8));
	q->desc = (void *)m;
	q->driver = (void *)(m + desc);
	q->device = (void *)(m + desc + driver);
	q->token = (void *)(q + 1);
	q->link = (void *)(q->token + size);
	q->count = q->link + size;
	q->table = alloc(64 * size);
}

struct vq *vdev_queue(struct vdev *d, u16 index)
{
	wr16(d->common + C_QSELECT, index);
	u16 size = rd16(d->common + C_QSIZE);
	if (index >= MAX_QUEUES || !size) {
		fail("virtio device has no queue %u", index);
		return NULL;
	}
	if (d->qsize && d->qsize < size)
		wr16(d->common + C_QSIZE, size = d->qsize);
	q_alloc(d, index, size);
	struct vq *q = d->q[index];
	q->dev = d;
	q->index = index;
	q->size = size;
	q->packed = d->packed && d->features & BIT(F_PACKED);
	q->event_idx = !!(d->features & BIT(F_EVENT_IDX));
	q->indirect = !!(d->features & BIT(F_INDIRECT));
	q->irq = d->irq && d->msix_size;
	q->notify = d->notify + (u64)rd16(d->common + C_QNOTIFY) * d->notify_mul;
	if (q->packed)
		packed_init(q);
	else
		split_init(q);
	wr16(d->common + C_QMSIX, q->irq ? index % d->msix_size : NO_VECTOR);
	wr64(d->common + C_QDESC, (u64)q->desc);
	wr64(d->common + C_QDRIVER, (u64)q->driver);
	wr64(d->common + C_QDEVICE, (u64)q->device);
	wr16(d->common + C_QENABLE, 1);
	return q;
}

void vdev_start(struct vdev *d)
{
	wr8(d->common + C_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	d->live = 1;
}

struct vdev *vdev_open(struct args *a, u32 type, u64 wanted)
{
	struct vdev *d = vdev_find(type, arg_num(a, "dev", 0));
	if (!d)
		return NULL;
	d->packed = arg_num(a, "packed", 0);
	d->event = arg_num(a, "event", 1);
	d->indirect = arg_num(a, "indirect", 0);
	d->irq = arg_num(a, "irq", 0);
	d->qsize = arg_num(a, "qsize", 0);
	wanted |= BIT(F_VERSION_1);
	if (d->packed)
		wanted |= BIT(F_PACKED);
	if (d->event)
		wanted |= BIT(F_EVENT_IDX);
	if (d->indirect)
		wanted |= BIT(F_INDIRECT);
	if (vdev_negotiate(d, wanted))
		return NULL;
	if (d->packed && !(d->features & BIT(F_PACKED))) {
		fail("virtio device offers no packed ring");
		return NULL;
	}
	return d;
}

int vq_add(struct vq *q, struct buf *b, u32 n, u64 token)
{
	return q->packed ? packed_add(q, b, n, token) : split_add(q, b, n, token);
}

void vq_notify(struct vq *q) { wr16(q->notify, q->index); }

void vq_kick(struct vq *q)
{
	fence();
	if (q->packed ? packed_wants_kick(q) : split_wants_kick(q))
		vq_notify(q);
}

int vq_poll(struct vq *q, u64 *token, u32 *len)
{
	return q->packed ? packed_poll(q, token, len) : split_poll(q, token, len);
}

void vq_wait(struct vq *q)
{
	if (!q->irq) {
		relax();
		return;
	}
	int ready = q->packed ? packed_arm(q) : split_arm(q);
	if (!ready)
		irq_wait();
	q->packed ? packed_disarm(q) : split_disarm(q);
}

int vq_get(struct vq *q, u64 *token, u32 *len, u64 ms)
{
	u64 end = rdtsc() + ms_to_tsc(ms);
	while (!vq_poll(q, token, len)) {
		if (rdtsc() > end)
			return 0;
		relax();
	}
	return 1;
}
