/* virtio-net (virtio 1.2 §5.1): raw Ethernet frames on the first queue pair. A
 * device stays up from one command to the next, until reset=1. */
#include "guest.h"

enum {
	F_MTU = 3, F_MAC = 5, F_MRG_RXBUF = 15, F_STATUS = 16, F_CTRL_VQ = 17, F_CTRL_RX = 18, F_CTRL_VLAN = 19, F_CTRL_RX_EXTRA = 20,
	F_GUEST_ANNOUNCE = 21, F_MQ = 22, F_CTRL_MAC_ADDR = 23,
};
enum { BUFFERS = 256, BUFFER = 2048, HDR = 12 };

void net_post(struct net *n, u32 i)
{
	struct buf b = {n->rxmem + i * BUFFER, BUFFER, 1};
	vq_add(n->rx, &b, 1, i);
}

static struct net *start(struct args *a)
{
	u64 wanted = BIT(F_MTU) | BIT(F_MAC) | BIT(F_STATUS) | BIT(F_CTRL_VQ) | BIT(F_CTRL_RX) | BIT(F_CTRL_VLAN) | BIT(F_CTRL_RX_EXTRA) |
		     BIT(F_GUEST_ANNOUNCE) | BIT(F_MQ) | BIT(F_CTRL_MAC_ADDR);
	if (arg_num(a, "mrg", 1))
		wanted |= BIT(F_MRG_RXBUF);
	struct vdev *d = vdev_open(a, VIRTIO_NET, wanted);
	if (!d)
		return NULL;
	struct net *n = d->driver;
	if (!n) {
		n = d->driver = alloc(sizeof(*n));
		n->rxmem = alloc(BUFFERS * BUFFER);
		n->txmem = alloc(BUFFERS * BUFFER);
		n->ctlmem = alloc(8192);
	}
	n->dev = d;
	n->rx = vdev_queue(d, 0);
	n->tx = vdev_queue(d, 1);
	n->ctrl = NULL;
	if (d->features & BIT(F_CTRL_VQ))
		n->ctrl = vdev_queue(d, d->features & BIT(F_MQ) ? 2 * rd16(d->config + 8) : 2);
	if (!n->rx || !n->tx)
		return NULL;
	memcpy(n->mac, (u8[6]){0x52, 0x54, 0, 0, 0, 1}, 6);
	for (u32 i = 0; i < 6 && d->features & BIT(F_MAC); i++)
		n->mac[i] = rd8(d->config + i);
	n->rxbufs = min(BUFFERS, n->rx->size);
	vdev_start(d);
	for (u32 i = 0; i < n->rxbufs; i++)
		net_post(n, i);
	vq_kick(n->rx);
	return n;
}

struct net *net_open(struct args *a)
{
	struct vdev *d = vdev_find(VIRTIO_NET, arg_num(a, "dev", 0));
	if (!d)
		return NULL;
	if (d->live && !arg_num(a, "reset", 0))
		return d->driver;
	return start(a);
}

int cmd_net_info(struct args *a)
{
	struct net *n = net_open(a);
	if (!n)
		return 1;
	u64 f = n->dev->features, c = n->dev->config;
	say("net.info dev=%lu mac=%m link=%u pairs=%u mtu=%u qsize=%u features=0x%lx offered=0x%lx", arg_num(a, "dev", 0), n->mac,
	    f & BIT(F_STATUS) ? rd16(c + 6) & 1 : 1, f & BIT(F_MQ) ? rd16(c + 8) : 1, f & BIT(F_MTU) ? rd16(c + 10) : 1500, n->rx->size, f,
	    n->dev->offered);
	return 0;
}

static void ether(struct net *n, u8 *frame, const u8 *dst, u16 type)
{
	memcpy(frame, dst, 6);
	memcpy(frame + 6, n->mac, 6);
	frame[12] = type >> 8;
	frame[13] = type;
}

/* Sends n frames as fast as the device takes them. */
int cmd_net_flood(struct args *a)
{
	struct net *n = net_open(a);
	u8 dst[6] = {0x52, 0x54, 0, 0, 0, 2};
	char *to = arg_str(a, "dst", NULL);
	u64 total = arg_num(a, "n", 100000), sent = 0, done = 0, token;
	u32 size = arg_num(a, "size", 64), len, next = 0;
	if (!n || size < 18 || size > BUFFER - HDR || (to && !parse_mac(to, dst)))
		return 1;
	u32 depth = min(arg_num(a, "depth", BUFFERS), min(BUFFERS, n->tx->size));
	for (u32 i = 0; i < BUFFERS; i++) {
		memset(n->txmem + i * BUFFER, 0, HDR + size);
		ether(n, n->txmem + i * BUFFER + HDR, dst, arg_num(a, "type", 0x88b5)); /* local experimental */
	}
	u64 khz = tsc_khz(), from = rdtsc();
	while (done < total) {
		u64 before = sent;
		for (; sent < total && sent - done < depth; sent++, next = (next + 1) % depth) {
			u8 *p = n->txmem + next * BUFFER;
			*(u32 *)(p + HDR + 14) = __builtin_bswap32(sent);
			vq_add(n->tx, &(struct buf){p, HDR + size, 0}, 1, next);
		}
		if (sent != before)
			vq_kick(n->tx);
		before = done;
		while (vq_poll(n->tx, &token, &len))
			done++;
		if (done == before)
			vq_wait(n->tx);
	}
	u64 cycles = rdtsc() - from;
	say("net.flood dev=%lu size=%u n=%lu depth=%u cycles=%lu tsc_khz=%lu pps=%lu", arg_num(a, "dev", 0), size, total, depth, cycles, khz,
	    total * khz / (cycles / 1000 + 1));
	return 0;
}

/* Takes the next frame: its first buffer, which is to be posted again, and its
 * whole length. Returns the buffer's index or -1. */
int net_receive(struct net *n, u8 **frame, u32 *size)
{
	u64 i, more;
	u32 len;
	if (!vq_poll(n->rx, &i, size))
		return -1;
	u8 *p = n->rxmem + i * BUFFER;
	u32 buffers = n->dev->features & BIT(F_MRG_RXBUF) ? *(u16 *)(p + 10) : 1;
	for (; buffers > 1 && vq_get(n->rx, &more, &len, 1000); buffers--) {
		*size += len;
		net_post(n, more);
	}
	*frame = p + HDR;
	*size -= HDR;
	return i;
}

int cmd_net_rx(struct args *a)
{
	struct net *n = net_open(a);
	u64 want = arg_num(a, "n", ~0ul), got = 0, bytes = 0, first = 0, last = 0, since = 0;
	int dump = arg_num(a, "dump", 0);
	if (!n)
		return 1;
	u64 khz = tsc_khz(), end = rdtsc() + ms_to_tsc(arg_num(a, "ms", 1000));
	while (got < want && rdtsc() < end) {
		u8 *p;
		u32 size;
		int i = net_receive(n, &p, &size);
		if (i < 0 || since == 32) {
			vq_kick(n->rx);
			since = 0;
		}
		if (i < 0) {
			vq_wait(n->rx);
			continue;
		}
		last = rdtsc();
		first = got ? first : last;
		got++;
		bytes += size;
		if (dump)
			say("net.rx frame dst=%m src=%m type=0x%04x size=%u", p, p + 6, p[12] << 8 | p[13], size);
		net_post(n, i);
		since++;
	}
	vq_kick(n->rx);
	say("net.rx dev=%lu n=%lu bytes=%lu cycles=%lu tsc_khz=%lu pps=%lu", arg_num(a, "dev", 0), got, bytes, last - first, khz,
	    got > 1 ? (got - 1) * khz / ((last - first) / 1000 + 1) : 0);
	return want != ~0ul && got < want;
}

static void swap(u8 *a, u8 *b, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		u8 t = a[i];
		a[i] = b[i];
		b[i] = t;
	}
}

/* Turns an ARP request, a ping or a UDP packet into its answer. What is only
 * swapped keeps its checksum. */
static int answer(struct net *n, u8 *p, u32 size, u32 ip)
{
	u8 us[4] = {ip >> 24, ip >> 16, ip >> 8, ip};
	u16 type = p[12] << 8 | p[13];
	if (type == 0x0806 && size >= 42 && p[21] == 1 && !memcmp(p + 38, us, 4)) {
		p[21] = 2;
		memcpy(p + 32, p + 22, 10);
		memcpy(p + 22, n->mac, 6);
		memcpy(p + 28, us, 4);
	} else if (type == 0x0800 && size >= 42 && p[14] == 0x45 && !memcmp(p + 30, us, 4)) {
		if (p[23] == 1 && p[34] == 8) {
			u32 sum = (p[36] << 8 | p[37]) + 0x800;
			sum = (sum & 0xffff) + (sum >> 16);
			p[34] = 0;
			p[36] = sum >> 8;
			p[37] = sum;
		} else if (p[23] == 17) {
			swap(p + 34, p + 36, 2);
		} else {
			return 0;
		}
		swap(p + 26, p + 30, 4);
	} else {
		return 0;
	}
	memcpy(p, p + 6, 6);
	memcpy(p + 6, n->mac, 6);
	return 1;
}

static u32 parse_ip(char *s)
{
	u32 ip = 0;
	for (u32 i = 0; i < 4; i++) {
		ip = ip << 8 | (u8)parse_num(s);
		while (*s && *s++ != '.')
			;
	}
	return ip;
}

/* Answers for ms milliseconds or n answers; the frame goes out of the buffer
 * that it came in. */
int cmd_net_echo(struct args *a)
{
	struct net *n = net_open(a);
	u32 ip = parse_ip(arg_str(a, "ip", "10.0.2.15")), size;
	u64 want = arg_num(a, "n", ~0ul), answered = 0, ms = arg_num(a, "ms", ~0ul), token;
	if (!n)
		return 1;
	u64 end = ms == ~0ul ? ~0ul : rdtsc() + ms_to_tsc(ms);
	say("net.echo dev=%lu mac=%m ready", arg_num(a, "dev", 0), n->mac);
	while (answered < want && rdtsc() < end) {
		u8 *p;
		int i = net_receive(n, &p, &size);
		if (i < 0) {
			vq_kick(n->rx);
			vq_wait(n->rx);
			continue;
		}
		if (size <= BUFFER - HDR && answer(n, p, size, ip)) {
			memset(p - HDR, 0, HDR);
			vq_add(n->tx, &(struct buf){p - HDR, HDR + size, 0}, 1, i);
			vq_kick(n->tx);
			while (!vq_poll(n->tx, &token, &size))
				relax();
			answered++;
		}
		net_post(n, i);
	}
	say("net.echo dev=%lu answered=%lu", arg_num(a, "dev", 0), answered);
	return want != ~0ul && answered < want;
}
