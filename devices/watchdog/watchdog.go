// Package watchdog models the watchdog timer of Intel's 6300ESB as a PCI function.
//
// The timer has two stages. A driver that does not reload it in time sees the first one
// pass silently and the second one do what the VM's watchdog action says. Time is the
// guest's: it stands still while the VM does.
//
// Registers are written by vCPU threads and the timer fires on a goroutine of its own; one
// lock guards all. Expired is called without it.
//
// Implements Intel 6300ESB (document 300641) §16, with the reset values of QEMU's model. It
// depends on devices/pci.
package watchdog

import (
	"encoding/binary"
	"sync"
	"time"

	"hv/devices/clock"
	"hv/devices/pci"
)

// Registers in configuration space.
const (
	regConfig = 0x60
	regLock   = 0x68

	configReboot  = 1 << 5 // no output when the second stage is over
	configFast    = 1 << 2 // counts at 1 MHz, not 1 kHz
	configIntType = 3

	lockFreeRun = 1 << 2
	lockEnable  = 1 << 1
	lockLock    = 1 << 0
)

// Registers in memory.
const (
	regPreload1 = 0x00
	regPreload2 = 0x04
	regReload   = 0x0c
	memorySize  = 0x10

	unlock1 = 0x80
	unlock2 = 0x86

	reloadNow    = 1 << 8
	reloadTimout = 1 << 9
	// Linux's driver has the timeout bit here.
	reloadLinux = 1 << 12

	preloadMask = 0xfffff
)

// tick is a cycle of the PCI clock; slowShift and fastShift are the prescalers.
const (
	tick      = 30 * time.Nanosecond
	slowShift = 15
	fastShift = 5
)

// minStage keeps a guest from having the host do nothing but run its timer.
const minStage = 100 * time.Microsecond

// Config describes the device.
type Config struct {
	// Expired is told that the time is over. It must not block.
	Expired func()
	// Clock is the time source; nil is the host's clock.
	Clock clock.Clock
}

// Device is a watchdog. It is paused until Resume.
type Device struct {
	cfg Config
	fn  *pci.Function

	mu      sync.Mutex
	config  uint16
	lock    uint8
	preload [2]uint32
	unlock  int  // how many of the two unlock values were written
	timeout bool // the timer ran out since the driver asked last

	stage    int // 0 or 1
	counting bool
	left     time.Duration // while paused
	deadline time.Time     // while not
	paused   bool
	stop     func() bool // cancels the timer, nil if there is none
	turn     int         // tells timers apart
}

// New returns a watchdog.
func New(cfg Config) (*Device, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.Host{}
	}
	d := &Device{cfg: cfg, paused: true, fn: pci.NewFunction(pci.Identity{Vendor: 0x8086, Device: 0x25ab, Class: 0x088000})}
	if err := d.fn.AddBAR(0, pci.BAR{Size: memorySize, Name: "i6300esb", Handler: (*memory)(d)}); err != nil {
		return nil, err
	}
	d.fn.OnConfig(regConfig, 2, d.readConfig, d.writeConfig)
	d.fn.OnConfig(regLock, 1, d.readLock, d.writeLock)
	d.fn.OnReset(d.Reset)
	d.Reset()
	return d, nil
}

// Function returns the PCI function.
func (d *Device) Function() *pci.Function { return d.fn }

// Reset stops the timer and forgets what the driver set, but not that the time ran out.
func (d *Device) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reset()
}

func (d *Device) reset() {
	d.halt()
	d.config, d.lock, d.unlock, d.stage = 0, 0, 0, 0
	d.preload = [2]uint32{preloadMask, preloadMask}
}

// halt ends the count.
func (d *Device) halt() {
	d.counting = false
	d.disarm()
}

// disarm cancels the timer, so that it does nothing even if it fires right now.
func (d *Device) disarm() {
	d.turn++
	if d.stop != nil {
		d.stop()
		d.stop = nil
	}
}

// start counts a stage down from its preload.
func (d *Device) start(stage int) {
	if d.lock&lockEnable == 0 {
		return
	}
	shift := slowShift
	if d.config&configFast != 0 {
		shift = fastShift
	}
	d.stage, d.counting = stage, true
	d.left = max(minStage, time.Duration(d.preload[stage])<<shift*tick)
	d.disarm()
	d.arm()
}

// arm sets the timer for what is left, unless the VM stands still.
func (d *Device) arm() {
	if d.paused || !d.counting {
		return
	}
	turn := d.turn
	d.deadline = d.cfg.Clock.Now().Add(d.left)
	d.stop = d.cfg.Clock.AfterFunc(d.left, func() {
		if d.over(turn) {
			d.cfg.Expired()
		}
	})
}

// over is the end of a stage, and reports whether it is the end of the guest's time.
func (d *Device) over(turn int) (expired bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if turn != d.turn {
		return false
	}
	d.stop = nil
	d.counting = false
	if d.stage == 0 {
		d.start(1)
		return false
	}
	if d.config&configReboot == 0 {
		d.timeout = true
		d.reset()
		return true
	}
	if d.lock&lockFreeRun != 0 {
		d.start(0)
	}
	return false
}

// Pause stops time.
func (d *Device) Pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused {
		return
	}
	d.paused = true
	if d.counting {
		d.left = max(0, d.deadline.Sub(d.cfg.Clock.Now()))
		d.disarm()
	}
}

// Resume lets time go on.
func (d *Device) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused {
		d.paused = false
		d.arm()
	}
}

// Close stops the timer for good. The function must be off its bus.
func (d *Device) Close() error {
	d.Reset()
	return d.fn.Close()
}

func (d *Device) readConfig(off int, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := binary.LittleEndian.AppendUint16(nil, d.config)
	copy(data, b[off:])
}

func (d *Device) writeConfig(off int, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := binary.LittleEndian.AppendUint16(nil, d.config)
	copy(b[off:], data)
	d.config = binary.LittleEndian.Uint16(b) & (configReboot | configFast | configIntType)
}

func (d *Device) readLock(_ int, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	data[0] = d.lock
}

// writeLock turns the timer on and off, until it is locked.
func (d *Device) writeLock(_ int, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock&lockLock != 0 {
		return
	}
	was := d.lock & lockEnable
	d.lock = data[0] & (lockFreeRun | lockEnable | lockLock)
	switch now := d.lock & lockEnable; {
	case now == 0:
		d.halt()
	case was == 0:
		d.start(0)
	}
}

// memory is the registers in memory.
type memory Device

// Read tells whether the timer ran out; other registers read as zero.
func (m *memory) Read(off uint64, data []byte) {
	clear(data)
	m.mu.Lock()
	defer m.mu.Unlock()
	if off == regReload && len(data) == 2 && m.timeout {
		binary.LittleEndian.PutUint16(data, reloadTimout|reloadLinux)
	}
}

// Write sets a register after the two unlock values were written.
func (m *memory) Write(off uint64, data []byte) {
	var b [8]byte
	copy(b[:], data)
	v := binary.LittleEndian.Uint32(b[:])
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case off == regReload && v == unlock1:
		m.unlock = 1
	case off == regReload && v == unlock2 && m.unlock == 1:
		m.unlock = 2
	case m.unlock == 2 && len(data) > 1:
		m.unlock = 0
		(*Device)(m).set(off, v, len(data))
	}
}

// set writes an unlocked register: preloads as 32 bits, the reload register as 16.
func (d *Device) set(off uint64, v uint32, size int) {
	switch {
	case size == 4 && off == regPreload1:
		d.preload[0] = v & preloadMask
	case size == 4 && off == regPreload2:
		d.preload[1] = v & preloadMask
	case size == 2 && off == regReload:
		if v&reloadNow != 0 {
			d.start(0)
		}
		if v&(reloadTimout|reloadLinux) != 0 {
			d.timeout = false
		}
	}
}
