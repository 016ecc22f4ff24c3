package profile

import (
	"strings"

	"github.com/cockroachdb/apd/v3"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/money"
)

// sign is what the sign of an amount in the file means.
type sign string

// The signs.
const (
	signKeep sign = "keep" // as it stands; a negative one is refused later
	signDrop sign = "drop" // the kind says the direction, the amount is its size
	signFlip sign = "flip" // the file's debit is our credit
)

// amountFormat is how amounts are written in a file.
type amountFormat struct {
	minor          bool
	decimal, group string
	sign           sign
}

var plainAmount = amountFormat{decimal: ".", sign: signKeep}

// maxAmountBytes is far longer than any amount that fits into 64 bits.
const maxAmountBytes = 48

// digits makes plain decimal text of an amount: "-1234.50". False: it is none.
func (f amountFormat) digits(text string) (plain string, ok bool) {
	text = strings.TrimSpace(text)
	if len(text) > maxAmountBytes {
		return "", false
	}
	text, negative, ok := cutSign(text)
	if !ok {
		return "", false
	}
	whole, fraction, hasPoint := strings.Cut(text, f.decimal)
	if hasPoint && (fraction == "" || !onlyDigits(fraction)) {
		return "", false
	}
	if f.group != "" && strings.Contains(whole, f.group) {
		groups := strings.Split(whole, f.group)
		for i, g := range groups {
			// 1,234,567 and 12,34,567 are groups; 1,23 is somebody's decimal comma.
			last := i == len(groups)-1
			if last && len(g) != 3 || !last && (len(g) == 0 || len(g) > 3) || i > 0 && !last && len(g) < 2 {
				return "", false
			}
		}
		whole = strings.Join(groups, "")
	}
	if whole == "" && hasPoint {
		whole = "0" // .50
	}
	if whole == "" || !onlyDigits(whole) {
		return "", false
	}
	if negative {
		whole = "-" + whole
	}
	if hasPoint {
		return whole + "." + fraction, true
	}
	return whole, true
}

// cutSign takes the sign off: before the number, behind it as mainframes write
// it, or as parentheses as accountants do.
func cutSign(text string) (rest string, negative, ok bool) {
	switch {
	case strings.HasPrefix(text, "("):
		inner, closed := strings.CutSuffix(text[1:], ")")
		return inner, true, closed
	case strings.HasPrefix(text, "-"):
		return text[1:], true, true
	case strings.HasPrefix(text, "+"):
		return text[1:], false, true
	case strings.HasSuffix(text, "-"):
		return text[:len(text)-1], true, true
	case strings.HasSuffix(text, "+"):
		return text[:len(text)-1], false, true
	}
	return text, false, true
}

func onlyDigits(text string) bool {
	for i := range len(text) {
		if text[i]-'0' >= 10 {
			return false
		}
	}
	return true
}

// minorUnits reads an amount of the currency, exactly: what is finer than the
// currency's smallest unit is refused, not rounded.
func (f *amountFormat) minorUnits(text, currency string) (int64, intake.Reason, string) {
	if n, ok := readInteger(text); ok && f.minor && f.sign != signFlip {
		return n, "", "" // the most common form needs no decimals
	}
	plain, ok := f.digits(text)
	if !ok {
		return 0, intake.ReasonBadText, "not an amount in the profile's format"
	}
	var d apd.Decimal
	if _, _, err := d.SetString(plain); err != nil {
		return 0, intake.ReasonBadText, "not an amount in the profile's format"
	}
	if f.minor {
		if d.Exponent < 0 {
			return 0, intake.ReasonNotInteger, "minor units have no decimals"
		}
	} else {
		decimals, known := money.Exponent(currency)
		if !known {
			return 0, intake.ReasonUnknownCurrency, "its currency is missing or not an active ISO 4217 code"
		}
		d.Exponent += int32(decimals)
	}
	if d.Exponent < 0 {
		var whole, rest apd.Decimal
		d.Modf(&whole, &rest)
		if !rest.IsZero() {
			return 0, intake.ReasonNotInteger, "more decimals than the currency has"
		}
	}
	amount, err := d.Int64()
	if err != nil {
		return 0, intake.ReasonOutOfRange, "outside the field's limits"
	}
	switch {
	case f.sign == signDrop && amount < 0, f.sign == signFlip:
		if amount, err = money.Neg(amount); err != nil {
			return 0, intake.ReasonOutOfRange, "outside the field's limits"
		}
	}
	return amount, "", ""
}

// decimalOf reads an amount for an expression.
func (f amountFormat) decimalOf(text string) (*apd.Decimal, error) {
	plain, ok := f.digits(text)
	if !ok {
		return nil, errNotAmount
	}
	d, _, err := apd.NewFromString(plain)
	if err != nil {
		return nil, errNotAmount
	}
	return d, nil
}
