package money_test

import (
	"errors"
	"math"
	"math/big"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/schemas/money"
)

func TestExponents(t *testing.T) {
	for _, c := range []struct {
		code     string
		decimals int
		known    bool
	}{
		{"CNY", 2, true},
		{"USD", 2, true},
		{"JPY", 0, true},
		{"KRW", 0, true},
		{"KWD", 3, true},
		{"BHD", 3, true},
		{"IQD", 3, true}, // where CLDR, unlike ISO 4217, says 0
		{"CLF", 4, true},
		{"", 0, false},
		{"cny", 0, false},
		{"RMB", 0, false},
		{"XXX", 0, false},
		{"CNYY", 0, false},
	} {
		decimals, known := money.Exponent(c.code)
		if decimals != c.decimals || known != c.known || money.Valid(c.code) != c.known {
			t.Errorf("%q: got %d, %t, valid %t; want %d, %t", c.code, decimals, known, money.Valid(c.code), c.decimals, c.known)
		}
	}
}

func TestCodesAreSortedAndValid(t *testing.T) {
	codes := money.Codes()
	if len(codes) < 150 || !sort.StringsAreSorted(codes) {
		t.Fatalf("%d codes, sorted %t", len(codes), sort.StringsAreSorted(codes))
	}
	for _, code := range codes {
		if len(code) != 3 || !money.Valid(code) {
			t.Errorf("code %q: valid %t", code, money.Valid(code))
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		minor int64
		code  string
		want  string
	}{
		{10_000, "CNY", "100.00"},
		{100, "JPY", "100"},
		{1_000, "KWD", "1.000"},
		{1, "CLF", "0.0001"},
		{0, "CNY", "0.00"},
		{0, "JPY", "0"},
		{5, "CNY", "0.05"},
		{-5, "CNY", "-0.05"},
		{-12_345, "CNY", "-123.45"},
		{math.MaxInt64, "CNY", "92233720368547758.07"},
		{math.MinInt64, "CNY", "-92233720368547758.08"},
		{math.MinInt64, "JPY", "-9223372036854775808"},
	} {
		got, err := money.Format(c.minor, c.code)
		if err != nil || got != c.want {
			t.Errorf("%d %s: got %q, %v; want %q", c.minor, c.code, got, err, c.want)
		}
	}
	if _, err := money.Format(1, "???"); !errors.Is(err, money.ErrUnknownCurrency) {
		t.Errorf("unknown currency: %v", err)
	}
}

func TestMulBps(t *testing.T) {
	for _, c := range []struct {
		a, bps, want int64
		err          error
	}{
		{10_000, 60, 60, nil},
		{10_000, 11_500, 11_500, nil}, // completion up to 115 %
		{1, 5_000, 1, nil},            // 0.5 rounds away from zero
		{-1, 5_000, -1, nil},
		{1, -5_000, -1, nil},
		{-1, -5_000, 1, nil},
		{1, 4_999, 0, nil},
		{3, 5_000, 2, nil},
		{0, math.MinInt64, 0, nil},
		{math.MaxInt64, 10_000, math.MaxInt64, nil},
		{math.MinInt64, 10_000, math.MinInt64, nil},
		{math.MinInt64, -10_000, 0, money.ErrOverflow},
		{math.MaxInt64, 10_001, 0, money.ErrOverflow},
		{math.MaxInt64, -10_001, 0, money.ErrOverflow},
		{math.MinInt64, math.MinInt64, 0, money.ErrOverflow},
	} {
		got, err := money.MulBps(c.a, c.bps)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%d × %d bps: got %d, %v; want %d, %v", c.a, c.bps, got, err, c.want, c.err)
		}
	}
}

// Every operation is held to math/big: the same number, or ErrOverflow exactly
// where the number does not fit.
func TestArithmeticIsExact(t *testing.T) {
	number := func() *rapid.Generator[int64] {
		return rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64}))
	}
	hold := func(t *rapid.T, operation string, got int64, err error, want *big.Int) {
		t.Helper()
		if !want.IsInt64() {
			if !errors.Is(err, money.ErrOverflow) {
				t.Fatalf("%s: got %d, %v, want overflow (%s)", operation, got, err, want)
			}
			return
		}
		if err != nil || got != want.Int64() {
			t.Fatalf("%s: got %d, %v, want %s", operation, got, err, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := number().Draw(t, "a"), number().Draw(t, "b")
		bigA, bigB := big.NewInt(a), big.NewInt(b)
		sum, err := money.Add(a, b)
		hold(t, "add", sum, err, new(big.Int).Add(bigA, bigB))
		difference, err := money.Sub(a, b)
		hold(t, "sub", difference, err, new(big.Int).Sub(bigA, bigB))
		negated, err := money.Neg(a)
		hold(t, "neg", negated, err, new(big.Int).Neg(bigA))
		part, err := money.MulBps(a, b)
		hold(t, "mul bps", part, err, roundedPart(bigA, bigB))
	})
}

// roundedPart is a × bps / 10,000, half away from zero.
func roundedPart(a, bps *big.Int) *big.Int {
	product := new(big.Int).Mul(a, bps)
	rounded := new(big.Int).Add(new(big.Int).Abs(product), big.NewInt(money.BasisPoints/2))
	rounded.Quo(rounded, big.NewInt(money.BasisPoints))
	if product.Sign() < 0 {
		rounded.Neg(rounded)
	}
	return rounded
}

// The text, read back without its point, is the amount.
func TestFormatKeepsTheNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minor := rapid.Int64().Draw(t, "minor")
		code := rapid.SampledFrom(money.Codes()).Draw(t, "code")
		text, err := money.Format(minor, code)
		if err != nil {
			t.Fatal(err)
		}
		whole, fraction, _ := strings.Cut(text, ".")
		if decimals, _ := money.Exponent(code); len(fraction) != decimals {
			t.Fatalf("%s %s: %d decimals, want %d", text, code, len(fraction), decimals)
		}
		back, ok := new(big.Int).SetString(whole+fraction, 10)
		if !ok || back.Int64() != minor {
			t.Fatalf("%d became %q", minor, text)
		}
	})
}

func TestSum(t *testing.T) {
	if total, err := money.Sum(); total != 0 || err != nil {
		t.Errorf("sum of none: %d, %v", total, err)
	}
	if total, err := money.Sum(1, 2, -5); total != -2 || err != nil {
		t.Errorf("sum: %d, %v", total, err)
	}
	if _, err := money.Sum(math.MaxInt64, 1); !errors.Is(err, money.ErrOverflow) {
		t.Errorf("sum above the limit: %v", err)
	}
}

func TestAmount(t *testing.T) {
	yuan := func(minor int64) money.Amount {
		a, err := money.New(minor, "CNY")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	check := func(name string, got money.Amount, err error, want money.Amount, wantErr error) {
		t.Helper()
		if got != want || !errors.Is(err, wantErr) {
			t.Errorf("%s: got %v, %v; want %v, %v", name, got, err, want, wantErr)
		}
	}
	got, err := yuan(70).Add(yuan(30))
	check("add", got, err, yuan(100), nil)
	got, err = yuan(70).Sub(yuan(100))
	check("sub", got, err, yuan(-30), nil)
	got, err = yuan(70).Neg()
	check("neg", got, err, yuan(-70), nil)
	got, err = yuan(10_000).MulBps(38)
	check("mul", got, err, yuan(38), nil)
	got, err = yuan(math.MaxInt64).Add(yuan(1))
	check("overflow", got, err, money.Amount{}, money.ErrOverflow)
	got, err = yuan(1).Add(money.Amount{Minor: 1, Currency: "USD"})
	check("mismatch", got, err, money.Amount{}, money.ErrCurrencyMismatch)
	got, err = money.New(1, "")
	check("no currency", got, err, money.Amount{}, money.ErrUnknownCurrency)
	if text := yuan(-105).String(); text != "-1.05 CNY" {
		t.Errorf("text %q", text)
	}
	if text := (money.Amount{Minor: 7, Currency: "?"}).String(); text != "7 minor units of unknown currency" {
		t.Errorf("text %q", text)
	}
}
