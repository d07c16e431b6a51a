/* Guest memory: its map, patterns in it, and the module that was loaded. */
#include "guest.h"

int cmd_mem_map(struct args *a)
{
	(void)a;
	for (u32 i = 0; i < memmap_len; i++)
		say("mem.map addr=0x%lx size=0x%lx type=%u", memmap[i].addr, memmap[i].size, memmap[i].type);
	say("mem.map entries=%u rsdp=0x%lx heap=%lu", memmap_len, START_INFO->rsdp, heap_free());
	return 0;
}

/* Fills memory with a function of address and seed, and looks again. */
int cmd_mem_pattern(struct args *a)
{
	u64 size = arg_num(a, "size", 1 << 20) & ~7ul, addr = arg_num(a, "addr", 0), seed = arg_num(a, "seed", 1), bad = 0;
	if (!addr)
		addr = (u64)temp(size);
	else if (addr + size > 1ul << 32)
		map_range(addr, size);
	u64 *p = (u64 *)addr, khz = tsc_khz(), from = rdtsc();
	for (u64 i = 0; i < size / 8; i++)
		p[i] = (u64)&p[i] * 0x9e3779b97f4a7c15ul ^ seed;
	u64 wrote = rdtsc();
	for (u64 i = 0; i < size / 8; i++)
		bad += p[i] != ((u64)&p[i] * 0x9e3779b97f4a7c15ul ^ seed);
	say("mem.pattern addr=0x%lx size=%lu seed=%lu bad=%lu write_cycles=%lu read_cycles=%lu tsc_khz=%lu", addr, size, seed, bad,
	    wrote - from, rdtsc() - wrote, khz);
	return bad != 0;
}

/* FNV-1a of the initrd. */
int cmd_mem_module(struct args *a)
{
	(void)a;
	if (!START_INFO->nr_modules)
		return fail("there is no module");
	struct module *m = (struct module *)START_INFO->modlist;
	u64 sum = 0xcbf29ce484222325ul;
	for (u64 i = 0; i < m->size; i++)
		sum = (sum ^ ((u8 *)m->addr)[i]) * 0x100000001b3ul;
	say("mem.module addr=0x%lx size=%lu fnv=0x%016lx", m->addr, m->size, sum);
	return 0;
}
