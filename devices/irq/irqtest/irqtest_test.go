package irqtest

import (
	"errors"
	"testing"
)

func TestLineCountsRises(t *testing.T) {
	var c Controller
	l := c.Line(4)
	for _, level := range []bool{true, true, false, true} {
		l.Set(level)
	}
	c.WaitRises(4, 2)
	if !c.Level(4) || c.Rises(4) != 2 || c.Level(5) {
		t.Errorf("level %v after %d rises, line 5 %v", c.Level(4), c.Rises(4), c.Level(5))
	}
}

func TestVectorKeepsPendingBehindMask(t *testing.T) {
	var c Controller
	v, err := c.NewVector()
	if err != nil {
		t.Fatal(err)
	}
	v.Signal()
	if !v.Pending() || len(c.Delivered()) != 0 || v.FD() != -1 {
		t.Fatal("a masked vector delivered")
	}
	if err := v.SetMessage(0xfee00000, 0x41, false); err != nil {
		t.Fatal(err)
	}
	v.Signal()
	c.WaitDelivered(2)
	if got := c.Delivered(); v.Pending() || got[0] != (Message{0xfee00000, 0x41}) {
		t.Errorf("delivered %v", got)
	}
}

func TestVectorsAreBoundedAndGivenBack(t *testing.T) {
	c := Controller{MaxVectors: 1}
	v, err := c.NewVector()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.NewVector(); !errors.Is(err, ErrNoVectors) {
		t.Errorf("second vector: %v", err)
	}
	if err := errors.Join(v.Close(), v.Close()); err != nil || c.Vectors() != 0 {
		t.Errorf("close: %v, %d left", err, c.Vectors())
	}
	v.Signal()
	if len(c.Delivered()) != 0 || v.Pending() {
		t.Error("a closed vector delivered")
	}
}

func TestWaitersWake(t *testing.T) {
	var c Controller
	v, err := c.NewVector()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.SetMessage(1, 2, false); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		c.WaitDelivered(1)
		c.WaitRises(9, 1)
		close(done)
	}()
	v.Signal()
	c.Line(9).Set(true)
	<-done
}
