package intake

import (
	"bytes"
	"unicode/utf8"
)

// A card number is 13 to 19 digits long; shorter ones are no longer issued.
const (
	minCardDigits = 13
	maxCardDigits = 19
	// shortestSecret has a digit less: behind the number of track data stands a mark.
	shortestSecret = minCardDigits - 1
)

// cardRange is a range of leading digits that card numbers begin with, and how
// long such numbers are.
type cardRange struct {
	network              string
	low, high            string // equally long, both inside
	minDigits, maxDigits int
}

// cardRanges are the ranges in which card numbers are issued. They are wide on
// purpose where networks overlap (nearly everything from 60 to 69 is somebody's):
// what they must keep out is 15-digit merchant ids and numeric times, of which
// one in ten passes the Luhn check.
var cardRanges = []cardRange{
	{"Visa", "4", "4", 13, 13},
	{"Visa", "4", "4", 16, 16},
	{"Visa", "4", "4", 19, 19},
	{"Mastercard", "51", "55", 16, 16},
	{"Mastercard", "2221", "2720", 16, 16},
	{"Mir", "2200", "2204", 16, 19},
	{"American Express", "34", "34", 15, 15},
	{"American Express", "37", "37", 15, 15},
	{"Diners Club", "300", "305", 14, 19},
	{"Diners Club", "309", "309", 14, 19},
	{"Diners Club", "36", "36", 14, 19},
	{"Diners Club", "38", "39", 14, 19},
	{"JCB", "3528", "3589", 16, 19},
	{"JCB", "2131", "2131", 15, 15},
	{"JCB", "1800", "1800", 15, 15},
	{"Maestro, RuPay, Verve", "50", "50", 13, 19},
	{"Maestro", "56", "58", 13, 19},
	{"UnionPay, Discover, Maestro, RuPay", "60", "69", 13, 19},
	{"UnionPay, RuPay", "81", "82", 16, 19},
	{"Uzcard", "8600", "8600", 16, 16},
	{"Humo", "9860", "9860", 16, 16},
	{"Troy", "9792", "9792", 16, 16},
	{"UnionPay, mainland ranges of before the 62", "9400", "9400", 16, 19},
	{"UnionPay, mainland ranges of before the 62", "9551", "9559", 16, 19},
	{"UnionPay, mainland ranges of before the 62", "9843", "9843", 16, 19},
}

// rangesByDigit are the ranges by their first digit: the check runs on every
// long number of every record.
var rangesByDigit = groupRanges()

func groupRanges() (groups [10][]cardRange) {
	for _, r := range cardRanges {
		for first := r.low[0]; first <= r.high[0]; first++ {
			groups[first-'0'] = append(groups[first-'0'], r)
		}
	}
	return groups
}

// digit is one digit of a run: its place in the text, and whether it starts a group.
type digit struct {
	at    int
	size  int
	value byte
	first bool
}

// isCard tells whether the digits are as long as a card number, pass the Luhn
// check and begin in a known range.
func isCard(number []digit) bool {
	if len(number) < minCardDigits || len(number) > maxCardDigits || !luhn(number) {
		return false
	}
	for _, r := range rangesByDigit[number[0].value] {
		if len(number) >= r.minDigits && len(number) <= r.maxDigits && inRange(number, r) {
			return true
		}
	}
	return false
}

func inRange(number []digit, r cardRange) bool {
	aboveLow, belowHigh := false, false
	for i := range len(r.low) {
		c := number[i].value + '0'
		if !aboveLow && c < r.low[i] || !belowHigh && c > r.high[i] {
			return false
		}
		aboveLow = aboveLow || c > r.low[i]
		belowHigh = belowHigh || c < r.high[i]
	}
	return true
}

func luhn(number []digit) bool {
	sum, double := 0, false
	for i := len(number) - 1; i >= 0; i-- {
		d := int(number[i].value)
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum, double = sum+d, !double
	}
	return sum%10 == 0
}

// secretKind is what a finding is.
type secretKind uint8

const (
	secretCard secretKind = iota + 1
	secretTrack
)

// finding is one secret in a text: bytes [start, end).
type finding struct {
	kind       secretKind
	start, end int
}

// scanner finds card numbers and track data in text. Its memory is reused.
type scanner struct {
	digits   []digit
	findings []finding
}

// scan returns the secrets of a text in order, none overlapping. The slice is
// valid until the next scan.
func (s *scanner) scan(text []byte) []finding {
	s.findings = s.findings[:0]
	if !enoughDigits(text) {
		return nil
	}
	for i := 0; i < len(text); {
		if _, size := digitAt(text, i); size == 0 {
			i++
			continue
		}
		i = s.collect(text, i)
		if end := s.track(text, i); end > 0 {
			i = end
			continue
		}
		s.cards(text)
	}
	return s.findings
}

// enoughDigits is the cheap question that nearly every text answers with no: is
// there a run, digits and what may stand between them, that is long enough for a
// card number, or for track data, whose number may be one digit shorter but then
// ends in a mark? Bytes outside of ASCII count as digits, because a full-width one
// has three of them.
//
// A run as long as that leaves no place free when every twelfth byte is looked at.
func enoughDigits(text []byte) bool {
	const step = minCardDigits - 1
	for i := step - 1; i < len(text); i += step {
		if !inRun[text[i]] {
			continue
		}
		start, end, count := i, i, 0
		for start > 0 && inRun[text[start-1]] {
			start--
		}
		for end < len(text) && inRun[text[end]] {
			end++
		}
		marked := end < len(text) && (text[end] == '^' || text[end] == '=')
		if end-start < step || end-start == step && !marked {
			i = end
			continue
		}
		for _, c := range text[start:end] {
			if c-'0' < 10 || c >= utf8.RuneSelf {
				count++
			}
		}
		if count > step || count == step && marked {
			return true
		}
		i = end
	}
	return false
}

// inRun are the bytes of digits and of what may stand between them.
var inRun = runBytes()

func runBytes() (is [256]bool) {
	for c := range is {
		is[c] = c >= '0' && c <= '9' || c == ' ' || c == '-' || c == '\t' || c == 0 || c >= utf8.RuneSelf
	}
	return is
}

// collect reads the run of digits that begins at i: groups of digits with one to
// three separators between them. It returns where the run ends.
func (s *scanner) collect(text []byte, i int) int {
	s.digits = s.digits[:0]
	end, first := i, true
	for i < len(text) {
		if value, size := digitAt(text, i); size > 0 {
			s.digits = append(s.digits, digit{at: i, size: size, value: value, first: first})
			i += size
			end, first = i, false
			continue
		}
		if i = skipSeparators(text, i); i == len(text) {
			break
		}
		if _, size := digitAt(text, i); size == 0 {
			break
		}
		first = true
	}
	return end
}

// skipSeparators goes over at most three separators.
func skipSeparators(text []byte, i int) int {
	for range 3 {
		i += separatorAt(text, i)
	}
	return i
}

// cards adds the card numbers of the collected run. A number begins and ends
// where groups do; overlapping ones become one finding.
func (s *scanner) cards(text []byte) {
	run := s.digits
	lastEnd := 0 // of the last finding in this run, as an index into run
	for start := range run {
		if !run[start].first {
			continue
		}
		for length := minCardDigits; length <= maxCardDigits && start+length <= len(run); length++ {
			end := start + length
			if end < len(run) && !run[end].first || !isCard(run[start:end]) {
				continue
			}
			last := run[end-1]
			if hexIdentifier(text, run[start].at, last.at) {
				continue
			}
			if start < lastEnd {
				s.findings[len(s.findings)-1].end = max(s.findings[len(s.findings)-1].end, last.at+last.size)
			} else {
				s.findings = append(s.findings, finding{kind: secretCard, start: run[start].at, end: last.at + last.size})
			}
			lastEnd = max(lastEnd, end)
		}
	}
}

// track adds what a magnetic stripe says if the run that ends at end is the
// number in it, and returns where it stops; 0 if it is none.
//
//	track 1:  B 4111111111111111 ^ NAME ^ 2512 101 …   up to '?'
//	track 2:    4111111111111111 = 2512 101 …          or D for '='
func (s *scanner) track(text []byte, end int) int {
	if end == len(text) {
		return 0
	}
	start := s.digits[0].at
	switch text[end] {
	case '^':
		if start == 0 || text[start-1]|0x20 != 'b' || len(s.digits) < minCardDigits-1 || len(s.digits) > maxCardDigits {
			return 0
		}
		start--
		if stop := bytes.IndexAny(text[end:], "?\"\r\n"); stop >= 0 {
			end += stop
		} else {
			end = len(text)
		}
	case '=', 'D', 'd':
		group := s.lastGroup()
		after := end + 1
		for after < len(text) && text[after]-'0' < 10 {
			after++
		}
		const expiryAndService = 7
		if after-end-1 < expiryAndService || len(group) < minCardDigits-1 {
			return 0
		}
		// An equals sign between numbers is telling; a letter is so only behind a
		// card number, which in hexadecimal text may have other digits before it.
		if !hasCardSuffix(group) && (text[end] != '=' || len(group) > maxCardDigits) {
			return 0
		}
		start, end = group[0].at, after
	default:
		return 0
	}
	s.findings = append(s.findings, finding{kind: secretTrack, start: start, end: end})
	return end
}

func (s *scanner) lastGroup() []digit {
	first := len(s.digits) - 1
	for !s.digits[first].first {
		first--
	}
	return s.digits[first:]
}

func hasCardSuffix(group []digit) bool {
	for length := minCardDigits; length <= min(maxCardDigits, len(group)); length++ {
		if isCard(group[len(group)-length:]) {
			return true
		}
	}
	return false
}

// digitAt reads a digit, ASCII or full-width. Size 0: there is none.
func digitAt(text []byte, i int) (value byte, size int) {
	if c := text[i]; c-'0' < 10 {
		return c - '0', 1
	}
	// U+FF10 to U+FF19 are EF BC 90 to EF BC 99.
	if text[i] == 0xEF && i+2 < len(text) && text[i+1] == 0xBC && text[i+2]-0x90 < 10 {
		return text[i+2] - 0x90, 3
	}
	return 0, 0
}

// separatorAt reads what people put between groups of digits: a space or a dash
// of any script. NUL counts, so that UTF-16 hides nothing. Size 0: there is none.
func separatorAt(text []byte, i int) int {
	if i >= len(text) {
		return 0
	}
	switch c := text[i]; {
	case c == ' ' || c == '-' || c == '\t' || c == 0:
		return 1
	case c < utf8.RuneSelf:
		return 0
	}
	switch r, size := utf8.DecodeRune(text[i:]); {
	case r == 0xA0, r == 0x3000, r == 0xFEFF, r == 0x202F, r == 0x2212, r == 0xFF0D,
		r >= 0x2000 && r <= 0x200B, r >= 0x2010 && r <= 0x2015:
		return size
	}
	return 0
}

// lastDigitOrSeparator looks at the end of a text.
func lastDigitOrSeparator(text []byte) (size int, is bool) {
	r, size := utf8.DecodeLastRune(text)
	_, digitSize := digitAt(text, len(text)-size)
	return size, digitSize == size && r != utf8.RuneError || separatorAt(text, len(text)-size) == size
}

// hexIdentifier tells whether the digits from first to last are part of a hash,
// a trace id or a UUID. One in two thousand such ids in 32 hexadecimal digits
// contains what passes for a card number; a payment must not be lost for it.
func hexIdentifier(text []byte, first, last int) bool {
	return hexWord(text, first) || hexWord(text, last) || inUUID(text, first, last)
}

// hexWord tells whether the word around at is hexadecimal, has a letter, and has
// a length that ids have.
func hexWord(text []byte, at int) bool {
	start, end := at, at
	for start > 0 && isAlphanumeric(text[start-1]) {
		start--
	}
	for end < len(text) && isAlphanumeric(text[end]) {
		end++
	}
	switch end - start {
	case 4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 96, 128:
	default:
		return false
	}
	letters := false
	for _, c := range text[start:end] {
		if !isHex(c) {
			return false
		}
		letters = letters || c > '9'
	}
	return letters
}

// inUUID tells whether [first, last] lies in a word of the form 8-4-4-4-12 that
// has a letter.
func inUUID(text []byte, first, last int) bool {
	inWord := func(c byte) bool { return c == '-' || isAlphanumeric(c) }
	start, end := first, last
	for start > 0 && inWord(text[start-1]) {
		start--
	}
	for end < len(text) && inWord(text[end]) {
		end++
	}
	if end-start != 36 {
		return false
	}
	letters := false
	for i, c := range text[start:end] {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !isHex(c) {
				return false
			}
			letters = letters || c > '9'
		}
	}
	return letters
}

func isHex(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 6 }

func isAlphanumeric(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 26 }
