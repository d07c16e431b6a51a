/* PCI configuration by ports 0xcf8 and 0xcfc; firmware or the monitor has
 * numbered the buses and assigned the BARs. */
#include "guest.h"

struct pci pci_devs[256];
u32 pci_count;

static void select(struct pci *p, u32 off) { outl(0xcf8, 0x80000000 | p->bus << 16 | p->devfn << 8 | (off & 0xfc)); }

u32 pci_read(struct pci *p, u32 off)
{
	select(p, off);
	return inl(0xcfc);
}

void pci_write(struct pci *p, u32 off, u32 v)
{
	select(p, off);
	outl(0xcfc, v);
}

u16 pci_read16(struct pci *p, u32 off)
{
	select(p, off);
	return inw(0xcfc + (off & 2));
}

void pci_write16(struct pci *p, u32 off, u16 v)
{
	select(p, off);
	outw(0xcfc + (off & 2), v);
}

static void scan_bus(u8 bus)
{
	for (u32 devfn = 0; devfn < 256 && pci_count < LEN(pci_devs); devfn++) {
		struct pci *p = &pci_devs[pci_count];
		*p = (struct pci){bus, devfn, 0, 0};
		u32 id = pci_read(p, 0);
		if ((id & 0xffff) == 0xffff || !id) {
			if (!(devfn & 7))
				devfn |= 7;
			continue;
		}
		p->vendor = id;
		p->device = id >> 16;
		pci_count++;
		u8 type = pci_read(p, 0xc) >> 16, secondary = pci_read(p, 0x18) >> 8;
		if ((type & 0x7f) == 1 && secondary > bus)
			scan_bus(secondary);
		if (!(devfn & 7) && !(type & 0x80))
			devfn |= 7;
	}
}

void pci_scan(void)
{
	pci_count = 0;
	scan_bus(0);
}

u32 pci_cap(struct pci *p, u8 id, u32 after)
{
	if (!(pci_read16(p, 6) & 0x10))
		return 0;
	u32 off = (after ? pci_read16(p, after) >> 8 : pci_read(p, 0x34)) & 0xfc;
	for (u32 n = 0; off && n < 48; n++) {
		u16 v = pci_read16(p, off);
		if ((v & 0xff) == id)
			return off;
		off = v >> 8 & 0xfc;
	}
	return 0;
}

u64 pci_bar(struct pci *p, u32 n, u64 *size)
{
	u32 off = 0x10 + 4 * n, low = pci_read(p, off);
	int wide = (low & 7) == 4;
	u64 addr = low & (low & 1 ? ~3u : ~15u);
	if (wide)
		addr |= (u64)pci_read(p, off + 4) << 32;
	if (size) {
		u16 cmd = pci_read16(p, 4);
		pci_write16(p, 4, cmd & ~3);
		pci_write(p, off, ~0u);
		u32 mask = pci_read(p, off) & ~(low & 1 ? 3u : 15u);
		pci_write(p, off, low);
		pci_write16(p, 4, cmd);
		*size = mask ? (u32)-mask : 0;
	}
	return addr;
}
