package intake

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func found(text string) string {
	var s scanner
	kinds := map[secretKind]string{secretCard: "card", secretTrack: "track"}
	parts := []string{}
	for _, f := range s.scan([]byte(text)) {
		parts = append(parts, kinds[f.kind]+" "+text[f.start:f.end])
	}
	return strings.Join(parts, "; ")
}

func TestScan(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		// The networks' published test numbers.
		{"4111111111111111", "card 4111111111111111"},
		{"4222222222222", "card 4222222222222"},
		{"5500000000000004", "card 5500000000000004"},
		{"2223000048400011", "card 2223000048400011"},
		{"378282246310005", "card 378282246310005"},
		{"30569309025904", "card 30569309025904"},
		{"3530111333300000", "card 3530111333300000"},
		{"6011111111111117", "card 6011111111111117"},
		{"6200000000000005", "card 6200000000000005"},

		// Where they hide.
		{"x4111111111111111y", "card 4111111111111111"},
		{"4111-1111 1111-1111", "card 4111-1111 1111-1111"},
		{"4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "card 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"},
		{"4111 - 1111 - 1111 - 1111", "card 4111 - 1111 - 1111 - 1111"},
		{"4111\u00a01111\u20131111\u30001111", "card 4111\u00a01111\u20131111\u30001111"},
		{"4111\x001111\x001111\x001111", "card 4111\x001111\x001111\x001111"},
		{"４１１１１１１１１１１１１１１１", "card ４１１１１１１１１１１１１１１１"},
		{"12 4111111111111111 34", "card 4111111111111111"},
		{"4111111111111111/5500000000000004", "card 4111111111111111; card 5500000000000004"},
		{"a4111111111111111", "card 4111111111111111"}, // 17 characters: no id
		{"card4111-1111-1111-1111", "card 4111-1111-1111-1111"},

		// Track data.
		{";4111111111111111=25121011234?", "track 4111111111111111=25121011234"},
		{"1234567890123=2512101", "track 1234567890123=2512101"},
		{"4111111111111111D25121011234", "track 4111111111111111D25121011234"},
		{"%B4111111111111111^DOE/J^2512101?x", "track B4111111111111111^DOE/J^2512101"},
		{"B4111111111111111^DOE", "track B4111111111111111^DOE"},

		// What only looks a little like it.
		{"", ""},
		{"4111111111111112", ""},                                           // Luhn
		{"898310158120004", ""},                                            // a merchant id that passes Luhn
		{"1586185140000000006", ""},                                        // nanoseconds
		{"411111111111", ""},                                               // 12 digits
		{"41111111111111111111", ""},                                       // 20 digits
		{"411111111111111", ""},                                            // Visa has no 15
		{"74111111111111111234567", ""},                                    // a reference of 23 digits
		{"4111,1111,1111,1111", ""},                                        // no separators
		{"4111    1111    1111    1111", ""},                               // too far apart
		{"2020-04-06 22:59:00 2020-04-07", ""},                             // dates
		{"a=1234567890123=25", ""},                                         // no expiry and service code
		{"1234567890123D2512101", ""},                                      // hexadecimal, no card
		{"x4111111111111112^", ""},                                         // no B before it
		{"aa4111111111111111aaaaaabbbbbbcc", ""},                           // 32 hexadecimal digits
		{"550e8400-e29b-41d4-4716-446655440008", ""},                       // a UUID
		{"550e8400 e29b 41d4 4716-446655440008", "card 4716-446655440008"}, // no UUID
		{"4111 1111 1111 1111abcdabcd", ""},                                // 12 hexadecimal digits
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", ""},
	} {
		if got := found(c.text); got != c.want {
			t.Errorf("%q: found %q, want %q", c.text, got, c.want)
		}
	}
}

// A number with a right check digit in a known range is found whatever stands
// around it and between its digits.
func TestScanFindsEveryCard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := drawCard(t)
		separator := rapid.SampledFrom([]string{"", " ", "-", " - "}).Draw(t, "separator")
		group := rapid.IntRange(2, 6).Draw(t, "group")
		var text strings.Builder
		text.WriteString(rapid.SampledFrom([]string{"", "x", "pan:", "\"", "卡", "."}).Draw(t, "before"))
		for i, c := range number {
			if i > 0 && i%group == 0 {
				text.WriteString(separator)
			}
			text.WriteRune(c)
		}
		text.WriteString(rapid.SampledFrom([]string{"", ",", "z", "。"}).Draw(t, "after"))
		if found(text.String()) == "" {
			t.Fatalf("not found in %q", text.String())
		}
		masked := string(maskText([]byte(text.String())))
		if strings.Contains(masked, number) || found(masked) != "" || !strings.Contains(masked, "*") {
			t.Fatalf("%q became %q", text.String(), masked)
		}
	})
}

// drawCard draws a card number of a random range.
func drawCard(t *rapid.T) string {
	r := rapid.SampledFrom(cardRanges).Draw(t, "range")
	digits := []byte(rapid.SampledFrom([]string{r.low, r.high}).Draw(t, "prefix"))
	length := rapid.IntRange(r.minDigits, r.maxDigits).Draw(t, "length")
	for len(digits) < length-1 {
		digits = append(digits, byte('0'+rapid.IntRange(0, 9).Draw(t, "digit")))
	}
	return withCheckDigit(digits)
}

func withCheckDigit(digits []byte) string {
	for check := byte('0'); ; check++ {
		number := []digit{}
		for i, c := range append(digits, check) {
			number = append(number, digit{at: i, size: 1, value: c - '0'})
		}
		if luhn(number) {
			return string(append(digits, check))
		}
	}
}

// One payment in a thousand must not be lost for the trace id that it carries.
func TestIdsAreNoCards(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const ids = 20_000
	wrong := 0
	for range ids {
		id := make([]byte, 16)
		for i := range id {
			id[i] = byte(random.Uint32())
		}
		text := hex.EncodeToString(id)
		uuid := text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
		if found(text) != "" || found(uuid) != "" || found("00-"+text+"-"+text[:16]+"-01") != "" {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d ids pass for cards", wrong, ids)
	}
}

func TestRangesAreWellFormed(t *testing.T) {
	for _, r := range cardRanges {
		if len(r.low) != len(r.high) || r.low > r.high || r.minDigits < minCardDigits || r.maxDigits > maxCardDigits || r.minDigits > r.maxDigits {
			t.Errorf("%+v", r)
		}
	}
	for _, c := range []struct {
		prefix string
		in     bool
	}{{"2220", false}, {"2221", true}, {"2300", true}, {"2719", true}, {"2720", true}, {"2721", false}, {"2199", false}} {
		number := []digit{}
		for _, d := range withCheckDigit([]byte(c.prefix + "00000000000")) {
			number = append(number, digit{value: byte(d) - '0'})
		}
		if isCard(number) != c.in {
			t.Errorf("%s: a card %t, want %t", c.prefix, !c.in, c.in)
		}
	}
}

// What enoughDigits says no to holds nothing: behind a number that is no card but
// long enough, the search must find what it finds in the text alone.
func TestEnoughDigitsHidesNothing(t *testing.T) {
	const before = "0000000000000!!!!"
	alphabet := []string{"0", "1", "4", "4111", "1111", "9", " ", "-", "\t", "\x00", "\u00a0", "４", "D", "d", "=", "^", "B", "x", "a", ".", "4222222222222", "B411111111111", "411111111111", "=2512101", "^DOE"}
	found := 0
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 13))
		text := ""
		if seed%2 == 0 {
			text = "4111111111111111"[:10+r.IntN(7)]
		}
		for range r.IntN(14) {
			text += alphabet[r.IntN(len(alphabet))]
		}
		var alone, behind scanner
		got, want := alone.scan([]byte(text)), behind.scan([]byte(before+text))
		found += len(want)
		if len(got) != len(want) {
			t.Fatalf("seed %d: in %q %d findings, behind a number %d", seed, text, len(got), len(want))
		}
		for i := range got {
			if got[i].kind != want[i].kind || got[i].start != want[i].start-len(before) || got[i].end != want[i].end-len(before) {
				t.Fatalf("seed %d: in %q %v, behind a number %v", seed, text, got[i], want[i])
			}
		}
	}
	if found < 500 {
		t.Errorf("only %d findings: the texts are not what they should be", found)
	}
}
