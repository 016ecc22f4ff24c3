package money

import (
	"sort"

	"github.com/bojanz/currency"
)

// Valid tells whether code is an active ISO 4217 code, in upper case. The empty
// code is not valid: an amount without a currency is no amount.
func Valid(code string) bool {
	_, known := exponents[code]
	return known
}

// Exponent is how many decimals one unit of the currency has: 2 for CNY, 0 for
// JPY, 3 for KWD. It is false for a code that is not valid.
func Exponent(code string) (decimals int, known bool) {
	d, known := exponents[code]
	return int(d), known
}

// Codes lists all valid codes in alphabetical order. The slice is the caller's.
func Codes() []string {
	codes := make([]string, 0, len(exponents))
	for code := range exponents {
		codes = append(codes, code)
	}
	sort.Strings(codes)
	return codes
}

// The kept library's table is read once: its own look-up counts "" as valid and
// copies an entry per call, and this one is asked about every record.
var exponents = loadExponents()

func loadExponents() map[string]uint8 {
	codes := currency.GetCurrencyCodes()
	table := make(map[string]uint8, len(codes))
	for _, code := range codes {
		if digits, known := currency.GetDigits(code); known {
			table[code] = digits
		}
	}
	return table
}
