// Package money is amounts of money: int64 minor units beside an ISO 4217 code.
//
// In come integers and codes, out go integers, decimal text and errors. Nothing
// here is a float, and nothing wraps around: an operation whose result does not
// fit into 64 bits returns ErrOverflow. Amounts of different currencies are
// never added. The package has no clock, no state and no I/O.
package money

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
)

// BasisPoints is one whole in parts of ten thousand, the unit of MulBps.
const BasisPoints int64 = 10_000

// Errors of this package; match them with errors.Is.
var (
	ErrOverflow         = errors.New("amount does not fit into 64 bits")
	ErrUnknownCurrency  = errors.New("unknown currency")
	ErrCurrencyMismatch = errors.New("amounts of different currencies")
)

// Add is a + b in minor units of one currency.
func Add(a, b int64) (int64, error) {
	sum := a + b
	// The sum wrapped exactly when both operands have the sign that it has not.
	if (a^sum)&(b^sum) < 0 {
		return 0, fmt.Errorf("add %d and %d: %w", a, b, ErrOverflow)
	}
	return sum, nil
}

// Sub is a − b in minor units of one currency.
func Sub(a, b int64) (int64, error) {
	difference := a - b
	if (a^b)&(a^difference) < 0 {
		return 0, fmt.Errorf("subtract %d from %d: %w", b, a, ErrOverflow)
	}
	return difference, nil
}

// Neg is −a. The smallest int64 has no counterpart and overflows.
func Neg(a int64) (int64, error) {
	if a == math.MinInt64 {
		return 0, fmt.Errorf("negate %d: %w", a, ErrOverflow)
	}
	return -a, nil
}

// Sum adds all amounts, in minor units of one currency; the sum of none is 0.
// It fails as soon as a partial sum does not fit.
func Sum(amounts ...int64) (int64, error) {
	var total int64
	for _, a := range amounts {
		var err error
		if total, err = Add(total, a); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// MulBps is a × bps / 10,000, rounded half away from zero: 0.5 minor units
// become 1 and −0.5 become −1, as commercial fee tables round. The product is
// computed in 128 bits, so only a result that does not fit overflows.
func MulBps(a, bps int64) (int64, error) {
	high, low := bits.Mul64(magnitude(a), magnitude(bps))
	low, carry := bits.Add64(low, uint64(BasisPoints)/2, 0)
	high += carry
	if high >= uint64(BasisPoints) { // the quotient needs more than 64 bits
		return 0, fmt.Errorf("multiply %d by %d bps: %w", a, bps, ErrOverflow)
	}
	quotient, _ := bits.Div64(high, low, uint64(BasisPoints))
	if (a < 0) == (bps < 0) {
		if quotient > math.MaxInt64 {
			return 0, fmt.Errorf("multiply %d by %d bps: %w", a, bps, ErrOverflow)
		}
		return int64(quotient), nil
	}
	if quotient > -math.MinInt64 {
		return 0, fmt.Errorf("multiply %d by %d bps: %w", a, bps, ErrOverflow)
	}
	return -int64(quotient), nil // 1<<63 converts to the smallest int64, whose negation is itself
}

// magnitude is |a|, which for the smallest int64 only a uint64 can hold.
func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}

// Format writes minor units as decimal text with the currency's decimals, a
// point, no grouping and no code: "100.00" (CNY), "100" (JPY), "1.000" (KWD).
func Format(minor int64, code string) (string, error) {
	decimals, known := Exponent(code)
	if !known {
		return "", fmt.Errorf("format amount: %w", ErrUnknownCurrency)
	}
	// Twenty digits, a sign and a point: the longest text fits without growing.
	return string(appendDecimal(make([]byte, 0, 24), minor, decimals)), nil
}

func appendDecimal(text []byte, minor int64, decimals int) []byte {
	if minor < 0 {
		text = append(text, '-')
	}
	digits := strconv.AppendUint(nil, magnitude(minor), 10)
	for len(digits) <= decimals {
		digits = append([]byte{'0'}, digits...)
	}
	point := len(digits) - decimals
	text = append(text, digits[:point]...)
	if decimals > 0 {
		text = append(text, '.')
		text = append(text, digits[point:]...)
	}
	return text
}
