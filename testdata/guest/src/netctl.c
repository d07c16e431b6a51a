/* virtio-net's control queue (virtio 1.2 §5.1.6.5). */
#include "guest.h"

/* Sends one command; data may be in two parts. Returns 0 when it was taken. */
int net_control(struct net *n, u8 class, u8 cmd, void *data, u32 len, void *data2, u32 len2)
{
	u8 *m = n->ctlmem;
	u64 token;
	u32 used, parts = 1;
	struct buf b[4] = {{m, 2, 0}};
	m[0] = class;
	m[1] = cmd;
	m[2] = 0xff;
	memcpy(m + 16, data, len);
	memcpy(m + 4096, data2, len2);
	if (len)
		b[parts++] = (struct buf){m + 16, len, 0};
	if (len2)
		b[parts++] = (struct buf){m + 4096, len2, 0};
	b[parts++] = (struct buf){m + 2, 1, 1};
	if (vq_add(n->ctrl, b, parts, 0))
		return 1;
	vq_kick(n->ctrl);
	if (!vq_get(n->ctrl, &token, &used, 10000))
		return fail("control command %u/%u was not answered", class, cmd);
	return m[2];
}

/* Reads "mac,mac" to a table of the form that MAC_TABLE_SET has. */
static u32 mac_table(char *s, u8 *table)
{
	u32 n = 0;
	while (s && *s && n < 600) {
		s = parse_mac(s, table + 4 + 6 * n);
		if (!s)
			break;
		n++;
		s += *s == ',';
	}
	*(u32 *)table = n;
	return 4 + 6 * n;
}

static int set_table(struct net *n, struct args *a)
{
	u8 *uni = temp(4096), *multi = temp(4096);
	u32 len = mac_table(arg_str(a, "uni", NULL), uni), len2 = mac_table(arg_str(a, "multi", NULL), multi);
	return net_control(n, CTL_MAC, CTL_MAC_TABLE_SET, uni, len, multi, len2);
}

static int set_mac(struct net *n, char *s)
{
	u8 mac[6];
	if (!parse_mac(s, mac))
		return fail("%s is no MAC address", s);
	int ack = net_control(n, CTL_MAC, CTL_MAC_ADDR_SET, mac, 6, NULL, 0);
	if (!ack)
		memcpy(n->mac, mac, 6);
	return ack;
}

static const struct { const char *key; u8 class, cmd, len; } simple[] = {
	{"promisc", CTL_RX, 0, 1}, {"allmulti", CTL_RX, 1, 1}, {"alluni", CTL_RX, 2, 1},   {"nomulti", CTL_RX, 3, 1},       {"nouni", CTL_RX, 4, 1},
	{"nobcast", CTL_RX, 5, 1}, {"vlan.add", CTL_VLAN, CTL_VLAN_ADD, 2}, {"vlan.del", CTL_VLAN, CTL_VLAN_DEL, 2}, {"announce", CTL_ANNOUNCE, 0, 0}, {"mq", CTL_MQ, 0, 2},
};

/* Does one word of the command; -1 when it is none of ours. */
static int do_word(struct net *n, struct args *a, u32 i, int *table)
{
	for (u32 k = 0; k < LEN(simple); k++)
		if (streq(a->key[i], simple[k].key)) {
			u16 v = a->val[i] ? parse_num(a->val[i]) : 1;
			return net_control(n, simple[k].class, simple[k].cmd, &v, simple[k].len, NULL, 0);
		}
	if (streq(a->key[i], "mac") && a->val[i])
		return set_mac(n, a->val[i]);
	if (streq(a->key[i], "uni") || streq(a->key[i], "multi"))
		return (*table)++ ? -1 : set_table(n, a); /* both in one command */
	if (streq(a->key[i], "raw") && a->val[i]) { /* class and command in one number */
		u16 v = parse_num(a->val[i]);
		return net_control(n, v >> 8, v, NULL, 0, NULL, 0);
	}
	return -1;
}

int cmd_net_ctrl(struct args *a)
{
	struct net *n = net_open(a);
	int refused = 0, table = 0;
	if (!n)
		return 1;
	if (!n->ctrl)
		return fail("net device has no control queue");
	for (u32 i = 1; i < a->n; i++) {
		int ack = do_word(n, a, i, &table);
		if (ack < 0)
			continue;
		say("net.ctrl dev=%lu %s=%s ack=%d", arg_num(a, "dev", 0), a->key[i], a->val[i] ? a->val[i] : "", ack);
		refused |= ack != (int)arg_num(a, "expect", 0);
	}
	return refused;
}
