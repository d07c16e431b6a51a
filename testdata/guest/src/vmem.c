/* virtio-mem (virtio 1.2 §5.15). */
#include "guest.h"

enum { VMEM_BLOCK = 0, VMEM_ADDR = 16, VMEM_REGION = 24, VMEM_USABLE = 32, VMEM_PLUGGED = 40, VMEM_REQUESTED = 48 };
enum { VMEM_PLUG, VMEM_UNPLUG, VMEM_UNPLUG_ALL, VMEM_STATE };
enum { VMEM_PXM = 0, VMEM_INACCESSIBLE = 1 };

struct vmem {
	struct vdev *dev;
	struct vq *q;
	u64 block, addr;
	struct { u16 type, pad[3]; u64 addr; u16 blocks, pad2[3]; } *req;
	volatile struct { u16 type, pad[3], state; } *resp;
};

/* Carries out a request; the answer is 0 for ACK, 1 for NACK, 2 for BUSY, 3 for ERROR. */
static u32 ask(struct vmem *m, u16 type, u64 addr, u16 blocks)
{
	u64 token;
	u32 len = 0;
	m->req->type = type;
	m->req->addr = addr;
	m->req->blocks = blocks;
	m->resp->type = 0xff;
	vq_add(m->q, (struct buf[]){{m->req, 24, 0}, {(void *)m->resp, 10, 1}}, 2, 0);
	vq_kick(m->q);
	while (!vq_poll(m->q, &token, &len))
		vq_wait(m->q);
	return len == 10 ? m->resp->type : 0xff;
}

static int plugged(struct vmem *m, u64 i)
{
	return ask(m, VMEM_STATE, m->addr + i * m->block, 1) == 0 && m->resp->state == 0;
}

/* Fills a block and looks again; it was zero before. Returns how many words were wrong. */
static u64 check(struct vmem *m, u64 i)
{
	u64 addr = m->addr + i * m->block, bad = 0;
	map_range(addr, m->block);
	volatile u64 *p = (u64 *)addr;
	for (u64 k = 0; k < m->block / 8; k += 64) {
		bad += p[k] != 0;
		p[k] = (u64)&p[k] * 0x9e3779b97f4a7c15ul;
	}
	for (u64 k = 0; k < m->block / 8; k += 64)
		bad += p[k] != (u64)&p[k] * 0x9e3779b97f4a7c15ul;
	return bad;
}

/* Plugs from the bottom, unplugs from the top, until size bytes are plugged. */
static int resize(struct vmem *m, u64 size)
{
	u64 usable = rd64(m->dev->config + VMEM_USABLE) / m->block, bad = 0, now;
	u32 answer = 0, plugs = 0, unplugs = 0;
	for (u64 i = 0; i < usable && !answer && rd64(m->dev->config + VMEM_PLUGGED) < size; i++)
		if (!plugged(m, i)) {
			answer = ask(m, VMEM_PLUG, m->addr + i * m->block, 1);
			if (!answer) {
				plugs++;
				bad += check(m, i);
			}
		}
	for (u64 i = usable; i-- > 0 && !answer && rd64(m->dev->config + VMEM_PLUGGED) > size;)
		if (plugged(m, i)) {
			answer = ask(m, VMEM_UNPLUG, m->addr + i * m->block, 1);
			unplugs += !answer;
		}
	now = rd64(m->dev->config + VMEM_PLUGGED);
	say("vmem addr=0x%lx region=%lu usable=%lu requested=%lu plugged=%lu plugs=%u unplugs=%u answer=%u bad=%lu", m->addr,
	    rd64(m->dev->config + VMEM_REGION), usable * m->block, rd64(m->dev->config + VMEM_REQUESTED), now, plugs, unplugs, answer, bad);
	return bad || answer || now != size;
}

/* size= is what to have, without it what is requested, each of rounds= times that this is
 * something else. */
int cmd_vmem(struct args *a)
{
	struct vmem m = {.dev = vdev_open(a, VIRTIO_MEM, BIT(VMEM_PXM) | BIT(VMEM_INACCESSIBLE))};
	int failed = 0;
	m.q = m.dev ? vdev_queue(m.dev, 0) : NULL;
	if (!m.q)
		return 1;
	m.block = rd64(m.dev->config + VMEM_BLOCK);
	m.addr = rd64(m.dev->config + VMEM_ADDR);
	m.req = temp(sizeof(*m.req));
	m.resp = temp(sizeof(*m.resp));
	vdev_start(m.dev);
	if (arg_num(a, "unplugall", 0))
		failed = ask(&m, VMEM_UNPLUG_ALL, 0, 0) != 0;
	if (arg_str(a, "size", NULL))
		return failed | resize(&m, arg_num(a, "size", 0));
	for (u64 n = arg_num(a, "rounds", 1); n; n--) {
		while (rd64(m.dev->config + VMEM_REQUESTED) == rd64(m.dev->config + VMEM_PLUGGED))
			relax();
		failed |= resize(&m, rd64(m.dev->config + VMEM_REQUESTED));
	}
	return failed;
}
