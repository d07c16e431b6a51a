/* Misuse of the virtio PCI registers. */
#include "guest.h"

static u64 common(struct blk *b) { return b->dev->common; }

/* Starts the device again with queue 0 set up by hand. */
static void start_with(struct blk *b, u64 desc, u64 driver, u64 device, u16 size)
{
	u64 c = common(b);
	vdev_negotiate(b->dev, b->dev->features);
	wr16(c + C_QSELECT, b->q->index);
	wr16(c + C_QSIZE, size);
	wr64(c + C_QDESC, desc);
	wr64(c + C_QDRIVER, driver);
	wr64(c + C_QDEVICE, device);
	wr16(c + C_QENABLE, 1);
	vdev_start(b->dev);
	b->q->avail = b->q->used = 0;
	blk_submit(b, 0, BLK_IN, 0, temp(512), 512);
	vq_notify(b->q);
	/* What a queue elsewhere would have used is not looked at. */
	b->dev->live = 0;
}

#define DESC ((u64)b->q->desc)
#define DRIVER_AREA ((u64)b->q->driver)
#define DEVICE_AREA ((u64)b->q->device)
#define SIZE (b->q->size)

static void desc_unaligned(struct blk *b) { start_with(b, DESC + 1, DRIVER_AREA, DEVICE_AREA, SIZE); }
static void driver_unaligned(struct blk *b) { start_with(b, DESC, DRIVER_AREA + 1, DEVICE_AREA, SIZE); }
static void device_unaligned(struct blk *b) { start_with(b, DESC, DRIVER_AREA, DEVICE_AREA + 1, SIZE); }
static void desc_beyond_ram(struct blk *b) { start_with(b, 1ul << 46, DRIVER_AREA, DEVICE_AREA, SIZE); }
static void driver_beyond_ram(struct blk *b) { start_with(b, DESC, 1ul << 46, DEVICE_AREA, SIZE); }
static void device_beyond_ram(struct blk *b) { start_with(b, DESC, DRIVER_AREA, 1ul << 46, SIZE); }
static void ring_crosses_ram_end(struct blk *b) { start_with(b, ram_end - 16, DRIVER_AREA, DEVICE_AREA, SIZE); }
static void ring_wraps(struct blk *b) { start_with(b, -16ul, -16ul, -16ul, SIZE); }
static void ring_is_mmio(struct blk *b) { start_with(b, common(b), common(b), common(b), SIZE); }
static void size_zero(struct blk *b) { start_with(b, DESC, DRIVER_AREA, DEVICE_AREA, 0); }
static void size_three(struct blk *b) { start_with(b, DESC, DRIVER_AREA, DEVICE_AREA, 3); }
static void size_too_big(struct blk *b) { start_with(b, DESC, DRIVER_AREA, DEVICE_AREA, 0x8000); }
static void size_ffff(struct blk *b) { start_with(b, DESC, DRIVER_AREA, DEVICE_AREA, 0xffff); }

static void moves_live_queue(struct blk *b)
{
	u64 c = common(b);
	wr16(c + C_QSELECT, b->q->index);
	wr64(c + C_QDESC, 1ul << 44);
	wr64(c + C_QDRIVER, 3);
	wr64(c + C_QDEVICE, ~0ul);
	wr16(c + C_QSIZE, 0xffff);
	wr16(c + C_QENABLE, 0);
	blk_submit(b, 0, BLK_IN, 0, temp(512), 512);
	vq_notify(b->q);
}
static void no_such_queue(struct blk *b)
{
	u64 c = common(b);
	for (u32 i = 0; i < 3; i++) {
		wr16(c + C_QSELECT, (u16[]){64, 0x7fff, 0xffff}[i]);
		wr16(c + C_QSIZE, 16);
		wr64(c + C_QDESC, DESC);
		wr16(c + C_QMSIX, 0);
		wr16(c + C_QENABLE, 1);
		wr16(c + C_QRESET, 1);
	}
}
static void notifies_no_queue(struct blk *b)
{
	u64 n = b->dev->notify;
	for (u32 i = 0; i < 64; i++) {
		wr16(n, 0xffff - i);
		wr32(n + 4 * i, ~0u);
		wr8(n + i, i);
	}
}
static void ok_without_features(struct blk *b)
{
	vdev_reset(b->dev);
	wr8(common(b) + C_STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK);
	wr16(common(b) + C_QSELECT, 0);
	wr16(common(b) + C_QENABLE, 1);
	vq_notify(b->q);
}
static void unoffered_features(struct blk *b)
{
	u64 c = common(b);
	vdev_reset(b->dev);
	wr8(c + C_STATUS, ACKNOWLEDGE | DRIVER);
	for (u32 i = 0; i < 4; i++) {
		wr32(c + C_GFSELECT, i);
		wr32(c + C_GF, ~0u);
	}
	wr32(c + C_GFSELECT, ~0u);
	wr32(c + C_GF, ~0u);
	wr8(c + C_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	wr8(c + C_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	vq_notify(b->q);
}
static void features_when_live(struct blk *b)
{
	wr32(common(b) + C_GFSELECT, 1);
	wr32(common(b) + C_GF, ~0u);
	wr8(common(b) + C_STATUS, 0x3f);
	blk_submit(b, 0, BLK_IN, 0, temp(512), 512);
	vq_notify(b->q);
}
static void status_noise(struct blk *b)
{
	static const u8 v[] = {0xff, 0x80, 1, 0x7f, 4, 0xf0, 0x40, 8, 0, 15, 0, 0xff};
	for (u32 i = 0; i < sizeof(v); i++) {
		wr8(common(b) + C_STATUS, v[i]);
		vq_notify(b->q);
	}
	b->dev->live = 0;
}
static void vector_out_of_range(struct blk *b)
{
	wr16(common(b) + C_MSIX, 0x7ff0);
	wr16(common(b) + C_QSELECT, 0);
	wr16(common(b) + C_QMSIX, 0x7ff0);
	if (rd16(common(b) + C_QMSIX) != NO_VECTOR)
		fail("a vector out of range was taken");
	blk_submit(b, 0, BLK_IN, 0, temp(512), 512);
	vq_notify(b->q);
}
static void wrong_sizes(struct blk *b)
{
	for (u64 a = common(b); a < common(b) + 64; a++) {
		if ((a - common(b)) / 2 == C_STATUS / 2)
			continue;
		wr8(a, 0xa5);
		wr16(a, 0xa5a5);
		wr32(a, 0xa5a5a5a5);
		*(volatile u64 *)a = ~0ul;
		rd8(a), rd16(a), rd32(a);
		*(volatile u64 *)a;
	}
	b->dev->live = 0;
}
static void writes_config(struct blk *b)
{
	for (u64 i = 0; i < 256; i += 4) {
		wr32(b->dev->config + i, ~0u);
		wr32(b->dev->isr + i % 4, ~0u);
	}
}
static void reset_with_requests(struct blk *b)
{
	u8 *data = temp(4 * 65536);
	for (u32 round = 0; round < 16; round++) {
		for (u32 i = 0; i < b->depth; i++)
			blk_submit(b, i, BLK_IN, 0, data + i * 65536, 512);
		vq_notify(b->q);
		wr8(common(b) + C_STATUS, 0);
		start_with(b, DESC, DRIVER_AREA, DEVICE_AREA, SIZE);
		if (b->q->packed)
			packed_init(b->q);
		else
			split_init(b->q);
	}
}
static void no_bus_master(struct blk *b)
{
	u16 cmd = pci_read16(b->dev->pci, 4);
	pci_write16(b->dev->pci, 4, cmd & ~4);
	blk_submit(b, 0, BLK_IN, 0, temp(512), 512);
	vq_notify(b->q);
	pci_write16(b->dev->pci, 4, cmd);
}

#define KIND(f) {#f, f}
const struct bad bad_regs[] = {
	KIND(desc_unaligned), KIND(driver_unaligned), KIND(device_unaligned), KIND(desc_beyond_ram), KIND(driver_beyond_ram),
	KIND(device_beyond_ram), KIND(ring_crosses_ram_end), KIND(ring_wraps), KIND(ring_is_mmio), KIND(size_zero), KIND(size_three),
	KIND(size_too_big), KIND(size_ffff), KIND(moves_live_queue), KIND(no_such_queue), KIND(notifies_no_queue), KIND(ok_without_features),
	KIND(unoffered_features), KIND(features_when_live), KIND(status_noise), KIND(vector_out_of_range), KIND(wrong_sizes),
	KIND(writes_config), KIND(reset_with_requests), KIND(no_bus_master),
};
const u32 bad_regs_count = LEN(bad_regs);
