/* Control commands one after another, and how long the device took for them. */
#include "guest.h"

enum { MICROS = 20000, FOLLOWED = 0x88b6 };

/* How often a time was taken, by the microsecond; the last counts all that are longer. */
struct times {
	u64 khz, n, max;
	u32 *by_us;
};

static void times_init(struct times *t)
{
	*t = (struct times){.khz = tsc_khz(), .by_us = temp(MICROS * sizeof(u32))};
}

static void took(struct times *t, u64 cycles)
{
	u64 us = cycles * 1000 / t->khz;
	t->n++;
	t->by_us[min(us, MICROS - 1)]++;
	if (us > t->max)
		t->max = us;
}

/* The time that so many thousandths of all are not above. */
static u64 quantile(struct times *t, u64 thousandths)
{
	u64 seen = 0, us = 0;
	for (; us < MICROS - 1; us++) {
		seen += t->by_us[us];
		if (seen * 1000 >= t->n * thousandths)
			break;
	}
	return us;
}

static int timed(struct times *t, struct net *n, u8 class, u8 cmd, void *data, u32 len)
{
	u64 from = rdtsc();
	int ack = net_control(n, class, cmd, data, len, NULL, 0);
	took(t, rdtsc() - from);
	return ack;
}

static struct net *controlled(struct args *a)
{
	struct net *n = net_open(a);
	if (n && !n->ctrl) {
		fail("net device has no control queue");
		return NULL;
	}
	return n;
}

/* Numbers the address. */
static void number(u8 mac[6], u32 i)
{
	mac[3] = i >> 16;
	mac[4] = i >> 8;
	mac[5] = i;
}

/* For ms milliseconds, as fast as the device answers: another MAC address, a VLAN more
 * and the one before gone. The state at the end is the one that is printed. */
int cmd_net_storm(struct args *a)
{
	struct net *n = controlled(a);
	struct times t;
	u8 mac[6] = {0x52, 0x54, 1};
	u16 vlan = 0, before = 0;
	u32 refused = 0, i = 0;
	if (!n)
		return 1;
	times_init(&t);
	u64 end = rdtsc() + ms_to_tsc(arg_num(a, "ms", 1000)), max = arg_num(a, "n", ~0ul), pause = arg_num(a, "pause", 0);
	say("net.storm dev=%lu begins", arg_num(a, "dev", 0));
	while (i < max && rdtsc() < end) {
		number(mac, ++i);
		vlan = 1 + i % 4094;
		refused += timed(&t, n, CTL_MAC, CTL_MAC_ADDR_SET, mac, 6) != 0;
		refused += timed(&t, n, CTL_VLAN, CTL_VLAN_ADD, &vlan, 2) != 0;
		if (before)
			refused += timed(&t, n, CTL_VLAN, CTL_VLAN_DEL, &before, 2) != 0;
		before = vlan;
		for (u64 until = rdtsc() + ms_to_tsc(pause); pause && rdtsc() < until;)
			relax();
	}
	memcpy(n->mac, mac, 6);
	say("net.storm dev=%lu rounds=%u commands=%lu refused=%u mac=%m vlan=%u p50_us=%lu p99_us=%lu max_us=%lu", arg_num(a, "dev", 0), i, t.n,
	    refused, mac, vlan, quantile(&t, 500), quantile(&t, 990), t.max);
	return refused != 0;
}

/* Waits for a frame of type FOLLOWED that holds the address. */
static int followed(struct net *n, const u8 *mac, u64 end)
{
	for (;;) {
		u8 *p;
		u32 size;
		int i = net_receive(n, &p, &size);
		if (i < 0) {
			if (rdtsc() > end)
				return 0;
			vq_kick(n->rx);
			relax();
			continue;
		}
		int it = size >= 20 && (p[12] << 8 | p[13]) == FOLLOWED && !memcmp(p + 14, mac, 6);
		net_post(n, i);
		if (it)
			return 1;
	}
}

/* Changes the MAC address n times, and takes the time until somebody who sees the host's
 * link follow has sent a frame of type 0x88b6 with the address behind its header. */
int cmd_net_follow(struct args *a)
{
	struct net *n = controlled(a);
	struct times t;
	u8 mac[6] = {0x52, 0x54, 2};
	u64 total = arg_num(a, "n", 100), ms = arg_num(a, "ms", 5000);
	u32 lost = 0;
	if (!n)
		return 1;
	times_init(&t);
	say("net.follow dev=%lu begins", arg_num(a, "dev", 0));
	for (u32 i = 1; i <= total; i++) {
		number(mac, i);
		u64 from = rdtsc();
		if (net_control(n, CTL_MAC, CTL_MAC_ADDR_SET, mac, 6, NULL, 0))
			return fail("the address was refused");
		memcpy(n->mac, mac, 6);
		if (followed(n, mac, from + ms_to_tsc(ms)))
			took(&t, rdtsc() - from);
		else
			lost++;
	}
	say("net.follow dev=%lu n=%lu lost=%u mac=%m p50_us=%lu p99_us=%lu max_us=%lu", arg_num(a, "dev", 0), total, lost, mac, quantile(&t, 500),
	    quantile(&t, 990), t.max);
	return lost != 0;
}
