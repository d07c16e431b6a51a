/* Exits from the guest, one kind at a time. */
#include "guest.h"

static void report(const char *what, u64 where, u64 n, u64 cycles, u64 khz)
{
	say("%s at=0x%lx n=%lu cycles=%lu tsc_khz=%lu ns=%lu", what, where, n, cycles, khz, cycles * 1000 / (khz * n / 1000 + 1));
}

/* In ring 3, or in ring 0 by ring=0, where some hosts exit in another way. */
int cmd_ioexit(struct args *a)
{
	u64 n = arg_num(a, "n", 1000000), khz = tsc_khz();
	u16 port = arg_num(a, "port", 0x80);
	int in = streq(arg_str(a, "op", "out"), "in"), ring = arg_num(a, "ring", 3);
	u64 from = rdtsc();
	if (!ring)
		ring0(r0_out, (u64)port, n);
	for (u64 i = 0; ring && i < n; i++)
		if (in)
			inb(port);
		else
			outb(port, i);
	report(in ? "ioexit op=in" : ring ? "ioexit op=out" : "ioexit op=out ring=0", port, n, rdtsc() - from, khz);
	return 0;
}

int cmd_mmioexit(struct args *a)
{
	u64 n = arg_num(a, "n", 1000000), khz = tsc_khz(), addr = arg_num(a, "addr", 0xfea01000);
	u64 from = rdtsc();
	for (u64 i = 0; i < n; i++)
		rd32(addr);
	report("mmioexit", addr, n, rdtsc() - from, khz);
	return 0;
}

int cmd_cpuid(struct args *a)
{
	u32 r[4];
	u64 leaf = arg_num(a, "leaf", 0), sub = arg_num(a, "sub", 0);
	ring0(r0_cpuid, leaf, sub, r);
	say("cpuid leaf=0x%lx sub=0x%lx eax=0x%08x ebx=0x%08x ecx=0x%08x edx=0x%08x", leaf, sub, r[0], r[1], r[2], r[3]);
	return 0;
}

int cmd_spin(struct args *a)
{
	u64 ms = arg_num(a, "ms", 0), end = ms ? rdtsc() + ms_to_tsc(ms) : ~0ul;
	while (rdtsc() < end)
		relax();
	say("spin ms=%lu", ms);
	return 0;
}
