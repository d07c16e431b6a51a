package hmp

import (
	"encoding/json"
	"strings"
)

// infoVirtioCommands show virtio devices.
func infoVirtioCommands() []*command {
	list := []*command{
		show("x-query-virtio", "virtio", "", "", "list the virtio devices", (*call).infoVirtio),
		show("x-query-virtio-status", "virtio-status", "path:string", "path", "show the state of a virtio device", (*call).infoVirtioStatus),
		show("x-query-virtio-queue-status", "virtio-queue-status", "path:string queue:int", "path queue", "show the state of a virtqueue", (*call).infoVirtioQueue),
		show("x-query-virtio-vhost-queue-status", "virtio-vhost-queue-status", "path:string queue:int", "path queue",
			"show the state of a virtqueue that vhost serves", (*call).infoVhostQueue),
		show("x-query-virtio-queue-element", "virtio-queue-element", "path:string queue:int index:int?", "path queue [index]",
			"show an element of a virtqueue", (*call).infoVirtioElement),
	}
	for _, c := range list[1:] {
		c.complete = completeVirtio
	}
	return list
}

// virtioDevice is what x-query-virtio says of a device.
type virtioDevice struct{ Path, Name string }

func (c *call) infoVirtio() error {
	var list []virtioDevice
	if err := c.query("x-query-virtio", nil, &list); err != nil {
		return err
	}
	if len(list) == 0 {
		c.printf("No VirtIO devices\n")
	}
	for _, d := range list {
		c.printf("%s [%s]\n", d.Path, d.Name)
	}
	return nil
}

// virtioFeatures is a set of features, with names for those that have one.
type virtioFeatures struct {
	Transports []string
	Dev        []string `json:"dev-features"`
	Unknown    *uint64  `json:"unknown-dev-features"`
}

func (c *call) features(title string, f virtioFeatures) {
	c.printf("%s:\n%s\n", title, column(f.Transports))
	if len(f.Dev) > 0 {
		c.printf("%s\n", column(f.Dev))
	}
	if f.Unknown != nil {
		c.printf("  unknown-features(0x%016x)\n", *f.Unknown)
	}
}

// column prints words below each other.
func column(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "\t" + strings.Join(words, ",\n\t")
}

var virtioStatus = []field{
	{key: "device-id", format: "  device_id:               %d\n"}, {key: "vhost-started", format: "  vhost_started:           %t\n"},
	{key: "bus-name", format: "  bus_name:                %s\n"}, {key: "broken", format: "  broken:                  %t\n"},
	{key: "disabled", format: "  disabled:                %t\n"}, {key: "disable-legacy-check", format: "  disable_legacy_check:    %t\n"},
	{key: "started", format: "  started:                 %t\n"}, {key: "use-started", format: "  use_started:             %t\n"},
	{key: "start-on-kick", format: "  start_on_kick:           %t\n"}, {key: "use-guest-notifier-mask", format: "  use_guest_notifier_mask: %t\n"},
	{key: "vm-running", format: "  vm_running:              %t\n"}, {key: "num-vqs", format: "  num_vqs:                 %d\n"},
	{key: "queue-sel", format: "  queue_sel:               %d\n"}, {key: "isr", format: "  isr:                     %d\n"},
	{key: "device-endian", format: "  endianness:              %s\n"},
}

// vhostFields are the members of vhost-dev.
var vhostFields = []field{
	{key: "nvqs", format: "    nvqs:           %d\n"}, {key: "vq-index", format: "    vq_index:       %d\n"}, {key: "max-queues", format: "    max_queues:     %d\n"},
	{key: "n-mem-sections", format: "    n_mem_sections: %d\n"}, {key: "n-tmp-sections", format: "    n_tmp_sections: %d\n"},
	{key: "backend-cap", format: "    backend_cap:    %d\n"}, {key: "log-enabled", format: "    log_enabled:    %t\n"}, {key: "log-size", format: "    log_size:       %d\n"},
}

func (c *call) infoVirtioStatus() error {
	var m members
	if err := c.query("x-query-virtio-status", obj(c.args), &m); err != nil {
		return err
	}
	var name string
	var status struct {
		Statuses []string
		Unknown  *uint64 `json:"unknown-statuses"`
	}
	var vhost members
	sets := map[string]*virtioFeatures{"guest-features": {}, "host-features": {}, "backend-features": {}}
	for key, to := range map[string]any{"name": &name, "status": &status, "vhost-dev": &vhost,
		"guest-features": sets["guest-features"], "host-features": sets["host-features"], "backend-features": sets["backend-features"]} {
		if b, ok := m[key]; ok {
			if err := json.Unmarshal(b, to); err != nil {
				return err
			}
		}
	}
	c.printf("%s:\n  device_name:             %s %s\n", c.args.str("path"), name, choose(vhost != nil, "(vhost)", ""))
	c.fields(m, virtioStatus)
	c.features("  status", virtioFeatures{Transports: status.Statuses})
	if status.Unknown != nil {
		c.printf("  unknown-statuses(0x%016x)\n", *status.Unknown)
	}
	c.features("  Guest features", *sets["guest-features"])
	c.features("  Host features", *sets["host-features"])
	c.features("  Backend features", *sets["backend-features"])
	return c.vhost(vhost)
}

func (c *call) vhost(m members) error {
	if m == nil {
		return nil
	}
	c.printf("  VHost:\n")
	c.fields(m, vhostFields)
	for _, f := range [][2]string{{"Features", "features"}, {"Acked features", "acked-features"}, {"Backend features", "backend-features"}} {
		var set virtioFeatures
		if err := json.Unmarshal(m[f[1]], &set); err != nil {
			return err
		}
		c.features("    "+f[0], set)
	}
	var p struct {
		Protocols []string
		Unknown   *uint64 `json:"unknown-protocols"`
	}
	if err := json.Unmarshal(m["protocol-features"], &p); err != nil {
		return err
	}
	c.features("    Protocol features", virtioFeatures{Transports: p.Protocols})
	if p.Unknown != nil {
		c.printf("  unknown-protocols(0x%016x)\n", *p.Unknown)
	}
	return nil
}

var queueFields = []field{
	{key: "queue-index", format: "  queue_index:          %d\n"}, {key: "inuse", format: "  inuse:                %d\n"}, {key: "used-idx", format: "  used_idx:             %d\n"},
	{key: "signalled-used", format: "  signalled_used:       %d\n"}, {key: "signalled-used-valid", format: "  signalled_used_valid: %t\n"},
	{key: "last-avail-idx", format: "  last_avail_idx:       %d\n"}, {key: "shadow-avail-idx", format: "  shadow_avail_idx:     %d\n  VRing:\n"},
	{key: "vring-num", format: "    num:          %d\n"}, {key: "vring-num-default", format: "    num_default:  %d\n"}, {key: "vring-align", format: "    align:        %d\n"},
	{key: "vring-desc", format: "    desc:         0x%016x\n"}, {key: "vring-avail", format: "    avail:        0x%016x\n"}, {key: "vring-used", format: "    used:         0x%016x\n"},
}

func (c *call) infoVirtioQueue() error {
	var m members
	if err := c.query("x-query-virtio-queue-status", obj(c.args), &m); err != nil {
		return err
	}
	c.printf("%s:\n  device_name:          %s\n", c.args.str("path"), scalar(m["name"]))
	fields := queueFields
	if m["shadow-avail-idx"] == nil { // vhost keeps it
		c.fields(m, fields[:6])
		c.printf("  VRing:\n")
		fields = fields[7:]
	}
	c.fields(m, fields)
	return nil
}

var vhostQueueFields = []field{
	{key: "kick", format: "  kick:                 %d\n"}, {key: "call", format: "  call:                 %d\n  VRing:\n"},
	{key: "num", format: "    num:         %d\n"}, {key: "desc", format: "    desc:        0x%016x\n"}, {key: "desc-phys", format: "    desc_phys:   0x%016x\n"},
	{key: "desc-size", format: "    desc_size:   %d\n"}, {key: "avail", format: "    avail:       0x%016x\n"}, {key: "avail-phys", format: "    avail_phys:  0x%016x\n"},
	{key: "avail-size", format: "    avail_size:  %d\n"}, {key: "used", format: "    used:        0x%016x\n"}, {key: "used-phys", format: "    used_phys:   0x%016x\n"},
	{key: "used-size", format: "    used_size:   %d\n"},
}

func (c *call) infoVhostQueue() error {
	var m members
	if err := c.query("x-query-virtio-vhost-queue-status", obj(c.args), &m); err != nil {
		return err
	}
	c.printf("%s:\n  device_name:          %s (vhost)\n", c.args.str("path"), scalar(m["name"]))
	c.fields(m, vhostQueueFields)
	return nil
}

func (c *call) infoVirtioElement() error {
	var e struct {
		Name  string
		Index int64
		Descs []struct {
			Addr  uint64
			Len   int64
			Flags []string
		}
		Avail struct{ Flags, Idx, Ring int64 }
		Used  struct{ Flags, Idx int64 }
	}
	if err := c.query("x-query-virtio-queue-element", obj(c.args), &e); err != nil {
		return err
	}
	c.printf("%s:\n  device_name: %s\n  index:   %d\n  desc:\n    descs:\n", c.args.str("path"), e.Name, e.Index)
	for i, d := range e.Descs {
		c.printf("%s        addr 0x%x len %d", choose(i > 0, ",\n", ""), d.Addr, d.Len)
		if len(d.Flags) > 0 {
			c.printf(" (%s)", strings.Join(d.Flags, ", "))
		}
	}
	c.printf("\n  avail:\n    flags: %d\n    idx:   %d\n    ring:  %d\n  used:\n    flags: %d\n    idx:   %d\n", e.Avail.Flags, e.Avail.Idx, e.Avail.Ring, e.Used.Flags, e.Used.Idx)
	return nil
}
