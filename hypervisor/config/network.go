package config

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"

	"hv/block/blockopts"
	"hv/devices/qdev"
	"hv/qmp/qapi"
)

// netdev is -netdev.
func (p *parser) netdev(arg string) error {
	ps, err := args(arg, "type")
	if err != nil {
		return err
	}
	if t, _ := ps.get("type"); wantsHelp(t) {
		return p.help("netdev", "")
	}
	p.addGroup("netdev", arg, ps, p.buildNetdev)
	return nil
}

func (p *parser) buildNetdev(ps pairs) error {
	n, err := netdevOf(ps)
	if err != nil {
		return err
	}
	if err := CheckNetdevID(n.Id); err != nil {
		return err
	}
	return p.keepNetdev(n)
}

// keepNetdev adds a back end whose id may be one that no user can think of.
func (p *parser) keepNetdev(n *qapi.Netdev) error {
	for _, other := range p.cfg.Netdevs {
		if other.Id == n.Id {
			return fmt.Errorf("Duplicate ID '%s' for netdev", n.Id)
		}
	}
	p.cfg.Netdevs = append(p.cfg.Netdevs, n)
	return nil
}

// CheckNetdevID refuses what cannot be a back end's id.
func CheckNetdevID(id string) error {
	if qdev.CheckID(id) != nil {
		return errors.New("Parameter 'id' expects an identifier")
	}
	return nil
}

// textLists are the options that may be given several times.
var textLists = map[string]bool{"hostfwd": true, "dnssearch": true}

// netdevOf returns the back end that pairs describe.
func netdevOf(ps pairs) (*qapi.Netdev, error) {
	t := blockopts.Tree{}
	count := map[string]int{}
	for _, kv := range ps {
		key := kv.key
		if textLists[key] {
			key += "." + strconv.Itoa(count[kv.key]) + ".str"
			count[kv.key]++
		}
		if err := t.Put(key, kv.value); err != nil {
			return nil, err
		}
	}
	n := &qapi.Netdev{}
	return n, t.Decode(n)
}

// defaultModel is the NIC that is made where no other is asked for.
const defaultModel = "virtio-net-pci"

// nic is -nic: a back end and its device in one.
func (p *parser) nic(arg string) error {
	ps, err := parsePairs(arg, "type")
	if err != nil {
		return err
	}
	if t, _ := ps.get("type"); t == "none" {
		return nil
	}
	if _, ok := ps.get("type"); !ok {
		ps = append(ps, pair{"type", "user"})
	}
	model, _ := ps.take("model")
	mac, _ := ps.take("mac")
	id, named := ps.take("id")
	if !named {
		id = p.netID()
	}
	if wantsHelp(model) {
		return p.help("nic", "")
	}
	p.addGroup("netdev", arg, append(ps, pair{"id", id}), p.netBuilder(named))
	return p.addNIC(oldNIC{model: model, mac: mac, netdev: id})
}

// netID returns the id of a back end that was given none.
func (p *parser) netID() string {
	p.nets.ids++
	return fmt.Sprintf("#net%03d", p.nets.ids-1)
}

// netBuilder returns what makes a back end whose id the user has chosen, or not.
func (p *parser) netBuilder(named bool) func(pairs) error {
	if named {
		return p.buildNetdev
	}
	return func(ps pairs) error {
		n, err := netdevOf(ps)
		if err != nil {
			return err
		}
		return p.keepNetdev(n)
	}
}

// oldNIC is a device of -nic or -net nic.
type oldNIC struct{ id, model, mac, netdev, addr, vectors string }

// addNIC adds a device.
func (p *parser) addNIC(n oldNIC) error {
	model := cmp.Or(n.model, defaultModel)
	if model == "virtio" {
		model = defaultModel
	}
	d, err := p.env.Devices.Lookup(model)
	if err != nil || d.Category != qdev.Network {
		return fmt.Errorf("Unsupported NIC model: %s", model)
	}
	props := pairs{{"driver", model}}
	for _, kv := range []pair{{"id", n.id}, {"netdev", n.netdev}, {"mac", n.mac}, {"addr", n.addr}, {"vectors", n.vectors}} {
		if kv.value != "" {
			props = append(props, kv)
		}
	}
	p.addGroup("device", props.String(), props, p.buildDevice)
	return nil
}

// oldNets is what -net asks for: a device and what it is connected to.
type oldNets struct {
	ids   int
	nics  []oldNIC // those that name no back end
	backs []string // ids of back ends
}

// net is -net.
func (p *parser) net(arg string) error {
	ps, err := parsePairs(arg, "type")
	if err != nil {
		return err
	}
	switch t, _ := ps.take("type"); {
	case t == "none":
		return nil
	case wantsHelp(t):
		return p.help("netdev", "")
	case t == "nic":
		return p.netNIC(ps)
	default:
		id, named := ps.take("id")
		if !named {
			id = p.netID()
		}
		p.nets.backs = append(p.nets.backs, id)
		p.addGroup("netdev", arg, append(ps, pair{"type", t}, pair{"id", id}), p.netBuilder(named))
	}
	return nil
}

// netNIC is -net nic.
func (p *parser) netNIC(ps pairs) error {
	var n oldNIC
	for key, to := range map[string]*string{
		"id": &n.id, "name": &n.id, "model": &n.model, "macaddr": &n.mac, "netdev": &n.netdev, "addr": &n.addr, "vectors": &n.vectors,
	} {
		if v, ok := ps.take(key); ok {
			*to = v
		}
	}
	switch {
	case len(ps) > 0:
		return fmt.Errorf("Invalid parameter '%s'", ps[0].key)
	case wantsHelp(n.model):
		return p.help("nic", "")
	case n.netdev != "":
		return p.addNIC(n)
	}
	p.nets.nics = append(p.nets.nics, n)
	return nil
}

// finishNet connects the one device of -net with the one back end.
func (p *parser) finishNet() error {
	if len(p.nets.nics) > 1 && len(p.nets.backs) > 0 || len(p.nets.backs) > 1 {
		return errors.New("-net: there are no hubs that join several devices or back ends: use -nic, or -netdev and -device")
	}
	for _, n := range p.nets.nics {
		if len(p.nets.backs) == 1 {
			n.netdev = p.nets.backs[0]
		}
		if err := p.addNIC(n); err != nil {
			return fmt.Errorf("-net nic: %w", err)
		}
	}
	return nil
}
