package graph

import (
	"math/bits"
	"testing"
)

// rule is what QEMU's bdrv_default_perms does for a role, said bit by bit.
type rule struct {
	role     Role
	readOnly bool
	// What is done with the child: passes from the user, always, or never.
	pass, always Perm
	// What is shared: passes from the user, or always. The others are not.
	passShared, alwaysShared Perm
	// with is what more is shared if the user shares writes.
	with Perm
}

var rules = []rule{
	{role: Filtered, pass: AllPerms, passShared: AllPerms},
	{role: Copy, pass: AllPerms, passShared: AllPerms},
	{role: Part, pass: AllPerms, passShared: AllPerms &^ Resize},
	{role: Storage, pass: AllPerms, always: ConsistentRead | Write | Resize, passShared: ConsistentRead | WriteUnchanged},
	{role: Storage, readOnly: true, pass: AllPerms, always: ConsistentRead, passShared: ConsistentRead | WriteUnchanged},
	{role: Backing, pass: ConsistentRead, alwaysShared: ConsistentRead | WriteUnchanged, with: Write | Resize},
}

// TestPermissionMatrix has users of every kind come through every kind of child.
func TestPermissionMatrix(t *testing.T) {
	for _, r := range rules {
		n := &Node{opt: Options{ReadOnly: r.readOnly}}
		for perm := range AllPerms + 1 {
			for shared := range AllPerms + 1 {
				wantPerm := perm&r.pass | r.always
				wantShared := shared&r.passShared | r.alwaysShared
				if shared&Write != 0 {
					wantShared |= r.with
				}
				n.opt.ForceShare = false
				p, s := r.role.wants(n, perm, shared)
				if p != wantPerm || s != wantShared {
					t.Errorf("role %d, read-only %v, %q sharing %q: %q sharing %q, want %q sharing %q", r.role, r.readOnly, perm, shared, p, s, wantPerm, wantShared)
				}
				n.opt.ForceShare = true
				if p, s = r.role.wants(n, perm, shared); p != wantPerm || s != AllPerms {
					t.Errorf("role %d shares %q although it is forced to share all", r.role, s)
				}
			}
		}
	}
}

// TestConflictMatrix has each two users meet.
func TestConflictMatrix(t *testing.T) {
	var g Graph
	n, m := leaf(t, &g, "n", Options{})
	for a := range 256 {
		p, s := Perm(a&15), Perm(a>>4)
		first, err := use(n, "a", p, s)
		wants(t, err, "")
		for b := range 256 {
			q, u := Perm(b&15), Perm(b>>4)
			second, err := use(n, "b", q, u)
			if bad := p&^u | q&^s; (bad != 0) != (err != nil) {
				t.Fatalf("%q sharing %q and %q sharing %q: %v", p, s, q, u, err)
			}
			if err == nil {
				if m.perm != p|q || m.shared != s&u {
					t.Fatalf("the driver was told %q sharing %q of %q and %q", m.perm, m.shared, p, q)
				}
				wants(t, second.Close(), "")
			}
			if m.perm != p || m.shared != s || len(n.parents) != 1 {
				t.Fatalf("a refused or closed user is still there: %q sharing %q", m.perm, m.shared)
			}
		}
		wants(t, first.Close(), "")
	}
}

// TestSetPermMatrix changes what a user does beside another, and what is refused changes
// nothing.
func TestSetPermMatrix(t *testing.T) {
	var g Graph
	n, m := leaf(t, &g, "n", Options{})
	f, err := over(&g, "f", Filtered, Options{}, n)
	wants(t, err, "")
	other, err := use(n, "other", ConsistentRead|WriteUnchanged, ConsistentRead|WriteUnchanged|Resize)
	wants(t, err, "")
	c, err := use(f, "c", 0, AllPerms)
	wants(t, err, "")
	has, lets := Perm(0), AllPerms
	for i := range 256 {
		// A Gray code goes through all with one change at a time.
		gray := i ^ i>>1
		p, s := Perm(gray&15), Perm(gray>>4)
		fits := p&Write == 0 && s&(ConsistentRead|WriteUnchanged) == ConsistentRead|WriteUnchanged
		if err := c.SetPerm(p, s); (err == nil) != fits {
			t.Fatalf("%q sharing %q: %v", p, s, err)
		} else if err == nil {
			has, lets = p, s
		}
		if p, s := c.Perms(); p != has || s != lets {
			t.Fatalf("%q sharing %q, want %q sharing %q", p, s, has, lets)
		}
		if m.perm != has|ConsistentRead|WriteUnchanged || m.shared != lets&^Write {
			t.Fatalf("%q sharing %q reaches the driver as %q sharing %q", has, lets, m.perm, m.shared)
		}
	}
	wants(t, other.Close(), "")
	wants(t, c.SetPerm(AllPerms, 0), "")
	if bits.OnesCount8(uint8(m.perm)) != 4 || m.shared != 0 {
		t.Errorf("%q sharing %q", m.perm, m.shared)
	}
}
