package money

import (
	"fmt"
)

// Amount is minor units of one currency. The zero Amount has no currency and
// goes with nothing; make one with New.
type Amount struct {
	Minor    int64
	Currency string // ISO 4217
}

// New checks the code.
func New(minor int64, currency string) (Amount, error) {
	if !Valid(currency) {
		return Amount{}, fmt.Errorf("make amount: %w", ErrUnknownCurrency)
	}
	return Amount{Minor: minor, Currency: currency}, nil
}

// Add is a + b; both must be of one currency.
func (a Amount) Add(b Amount) (Amount, error) { return a.with(b, Add) }

// Sub is a − b; both must be of one currency.
func (a Amount) Sub(b Amount) (Amount, error) { return a.with(b, Sub) }

// Neg is −a.
func (a Amount) Neg() (Amount, error) {
	minor, err := Neg(a.Minor)
	return a.replaced(minor, err)
}

// MulBps is a × bps / 10,000, rounded half away from zero; see the function MulBps.
func (a Amount) MulBps(bps int64) (Amount, error) {
	minor, err := MulBps(a.Minor, bps)
	return a.replaced(minor, err)
}

// String is "100.00 CNY". An amount whose currency is not valid shows its minor
// units as such, because a log line must not fail.
func (a Amount) String() string {
	text, err := Format(a.Minor, a.Currency)
	if err != nil {
		return fmt.Sprintf("%d minor units of unknown currency", a.Minor)
	}
	return text + " " + a.Currency
}

func (a Amount) with(b Amount, operation func(a, b int64) (int64, error)) (Amount, error) {
	if a.Currency != b.Currency {
		return Amount{}, ErrCurrencyMismatch
	}
	minor, err := operation(a.Minor, b.Minor)
	return a.replaced(minor, err)
}

func (a Amount) replaced(minor int64, err error) (Amount, error) {
	if err != nil {
		return Amount{}, err
	}
	return Amount{Minor: minor, Currency: a.Currency}, nil
}
