package qapi

import (
	"math"
	"strconv"
)

func decodeFloat64(v Value, dst *float64) error {
	if v.isText() {
		f, err := strconv.ParseFloat(string(v.text()), 64)
		if err != nil || f != f {
			return outOfRange("a number")
		}
		*dst = f
		return nil
	}
	f, ok := v.Float64()
	if !ok {
		return wrongType("number")
	}
	*dst = f
	return nil
}

// decodeSmall decodes a signed number of fewer than 64 bits.
func decodeSmall[T int8 | int16 | int32](v Value, dst *T, lowest, highest int64, name string) error {
	var i int64
	if err := decodeInt64(v, &i); err != nil {
		return err
	}
	if i < lowest || i > highest {
		return outOfRange(name)
	}
	*dst = T(i)
	return nil
}

func decodeInt8(v Value, dst *int8) error {
	return decodeSmall(v, dst, math.MinInt8, math.MaxInt8, "int8_t")
}

func decodeInt16(v Value, dst *int16) error {
	return decodeSmall(v, dst, math.MinInt16, math.MaxInt16, "int16_t")
}

func decodeInt32(v Value, dst *int32) error {
	return decodeSmall(v, dst, math.MinInt32, math.MaxInt32, "int32_t")
}

// decodeSmallUint decodes an unsigned number of fewer than 64 bits.
func decodeSmallUint[T uint8 | uint16 | uint32](v Value, dst *T, highest uint64, name string) error {
	var u uint64
	if err := decodeUint64(v, &u); err != nil {
		return err
	}
	if u > highest {
		return outOfRange(name)
	}
	*dst = T(u)
	return nil
}

func decodeUint8(v Value, dst *uint8) error {
	return decodeSmallUint(v, dst, math.MaxUint8, "uint8_t")
}

func decodeUint16(v Value, dst *uint16) error {
	return decodeSmallUint(v, dst, math.MaxUint16, "uint16_t")
}

func decodeUint32(v Value, dst *uint32) error {
	return decodeSmallUint(v, dst, math.MaxUint32, "uint32_t")
}
