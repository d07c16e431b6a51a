package pump

import "sync"

// Crew is the workers of a device from its activation to its reset. A device embeds it
// and so can be paused. The zero Crew has no workers.
type Crew struct {
	mu    sync.Mutex
	pumps []*Pump
}

// StartWorkers takes workers that New made, starts them and wakes them once.
func (c *Crew) StartWorkers(pumps ...*Pump) {
	c.mu.Lock()
	c.pumps = pumps
	c.mu.Unlock()
	for _, p := range pumps {
		p.Start()
		p.Wake()
	}
}

// StartPaused is StartWorkers for workers that stand still until Resume.
func (c *Crew) StartPaused(pumps ...*Pump) {
	for _, p := range pumps {
		p.ask(Paused)
	}
	c.StartWorkers(pumps...)
}

// WakeWorkers wakes the workers that there are.
func (c *Crew) WakeWorkers() {
	for _, p := range c.workers() {
		p.Wake()
	}
}

// EndWorkers ends the workers and waits for them. Not for handlers.
func (c *Crew) EndWorkers() {
	c.mu.Lock()
	pumps := c.pumps
	c.pumps = nil
	c.mu.Unlock()
	for _, p := range pumps {
		p.Close()
	}
}

// Pause makes the workers stand still.
func (c *Crew) Pause() {
	for _, p := range c.workers() {
		p.Pause()
	}
}

// Resume lets them go on.
func (c *Crew) Resume() {
	for _, p := range c.workers() {
		p.Resume()
	}
}

func (c *Crew) workers() []*Pump {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pumps
}
