/* Random accesses to everything that devices decode. */
#include "guest.h"

struct range { u64 base, size; };

/* Ports whose use ends the machine or this program's output. */
static const struct { u16 first, last; } spared[] = {
	{0x60, 0x64}, {0x92, 0x92}, {0xb2, 0xb3}, {0x3f8, 0x3ff}, {0x501, 0x508}, {0x600, 0x6ff}, {0xcf8, 0xcff},
};

static void wild_port(u64 *seed)
{
	u16 port = next_random(seed) >> 16;
	u32 v = next_random(seed) >> 16;
	if (v & 1)
		port &= 0xfff; /* where most of them are */
	for (u32 i = 0; i < LEN(spared); i++)
		if (port + 3 >= spared[i].first && port <= spared[i].last)
			return;
	switch (v >> 8 & 7) {
	case 0: outb(port, v); break;
	case 1: outw(port, v); break;
	case 2: outl(port, v); break;
	case 3: inb(port); break;
	case 4: inw(port); break;
	default: inl(port);
	}
}

static void wild_mmio(struct range *r, u64 *seed)
{
	u64 off = next_random(seed) % r->size, v = next_random(seed);
	u64 a = r->base + off;
	if (off + 8 > r->size)
		return;
	switch (next_random(seed) >> 32 & 7) {
	case 0: wr8(a, v); break;
	case 1: wr16(a, v); break;
	case 2: wr32(a & ~3ul, v); break;
	case 3: *(volatile u64 *)(a & ~7ul) = v; break;
	case 4: rd8(a); break;
	case 5: rd16(a); break;
	case 6: rd32(a); break;
	default: *(volatile u64 *)a;
	}
}

/* Configuration space but for the BARs, unless bars is set. */
static void wild_config(struct pci *p, u64 *seed, int bars)
{
	u32 off = next_random(seed) >> 32 & 0xfc, v = next_random(seed) >> 16;
	if (off >= 0x10 && off < 0x34 && !bars)
		return;
	if (next_random(seed) >> 63)
		pci_write(p, off, v);
	else
		pci_write16(p, off, v);
	pci_read(p, next_random(seed) >> 32 & 0xff);
}

enum { SAVED = 16 };

static void restore(struct pci *p, u32 *saved)
{
	for (u32 i = 4; i < SAVED; i++)
		pci_write(p, 4 * i, saved[i]);
	u32 cap = pci_cap(p, 0x11, 0);
	if (cap)
		pci_write16(p, cap + 2, 0);
	pci_write(p, 4, saved[1] & 0xffff);
}

static u32 find_ranges(struct range *r, u32 max, u64 only)
{
	struct vdev *d;
	u32 n = 0;
	for (u32 i = 0; (d = vdev_any(i)); i++) {
		if (only != ~0ul && only != i)
			continue;
		for (u32 bar = 0; bar < 6 && n < max; bar++) {
			u64 size, base = pci_bar(d->pci, bar, &size);
			u32 low = pci_read(d->pci, 0x10 + 4 * bar);
			if (base && size && !(low & 1))
				r[n++] = (struct range){base, size};
			bar += (low & 7) == 4;
		}
		if (n + 2 <= max) { /* again, for most of a BAR is empty */
			r[n++] = (struct range){d->common, 64};
			r[n++] = (struct range){d->config, 64};
		}
	}
	return n;
}

static u32 check_all(struct args *a)
{
	struct vdev *d;
	u32 broken = 0;
	for (u32 i = 0; (d = vdev_any(i)); i++)
		broken += vdev_reset(d);
	struct blk b;
	if (arg_num(a, "blk", 1) && (d = vdev_any(0)))
		for (u32 i = 0; (d = vdev_any(i)); i++)
			if (d->type == VIRTIO_BLK) {
				struct args none = {.n = 0};
				broken += blk_open(&none, &b, 1) || blk_sync(&b, BLK_IN, 0, temp(512), 512);
				vdev_reset(b.dev);
				break;
			}
	return broken;
}

int cmd_wildregs(struct args *a)
{
	u64 n = arg_num(a, "n", 10000), start = arg_num(a, "seed", 1), seed = start * 0x9e3779b97f4a7c15ul + 1;
	int bars = arg_num(a, "bars", 0), ports = arg_num(a, "ports", 1);
	struct range r[64];
	vdev_any(0);
	u32 ranges = find_ranges(r, LEN(r), arg_num(a, "dev", ~0ul));
	u32(*saved)[SAVED] = temp(pci_count * sizeof(*saved));
	for (u32 i = 0; i < pci_count; i++)
		for (u32 k = 0; k < SAVED; k++)
			saved[i][k] = pci_read(&pci_devs[i], 4 * k);
	for (u64 i = 0; i < n; i++) {
		u32 what = next_random(&seed) >> 60;
		if (what == 0 && pci_count)
			wild_config(&pci_devs[next_random(&seed) % pci_count], &seed, bars);
		else if (what < 4 && ports)
			wild_port(&seed);
		else if (ranges)
			wild_mmio(&r[next_random(&seed) % ranges], &seed);
	}
	for (u32 i = 0; i < pci_count; i++)
		restore(&pci_devs[i], saved[i]);
	u32 broken = check_all(a);
	say("wildregs seed=%lu n=%lu ranges=%u functions=%u broken=%u", start, n, ranges, pci_count, broken);
	return broken != 0;
}
