package intake

import (
	"bytes"
	"math"
	"unicode/utf8"

	"settlewatch/schemas/money"
)

// maxAmountMinor is the largest amount: what every JSON reader keeps exactly.
const maxAmountMinor = 1<<53 - 1

// maxTextRunes is the longest text of a known field.
const maxTextRunes = 128

// parse reads a known field's value by its shape. An empty reason is success.
func (d *Decoder) parse(id fieldID, value []byte) (Reason, string) {
	shape := fields[id].shape
	if shape == shapeAmount || shape == shapeCount {
		return d.parseNumber(id, value)
	}
	if shape == shapeBool {
		return d.parseBool(id, value)
	}
	if value[0] != '"' {
		return ReasonWrongType, "want a string"
	}
	if shape == shapeCard {
		var memory [64]byte
		defer clear(memory[:])
		return d.parseCard(unquote(memory[:0], value))
	}
	start := len(d.arena)
	d.arena = unquote(d.arena, value)
	d.texts[id] = span{start, len(d.arena)}
	return d.parseText(id, d.arena[start:])
}

func (d *Decoder) parseBool(id fieldID, value []byte) (Reason, string) {
	switch value[0] {
	case 't':
		d.numbers[id] = 1
	case 'f':
		d.numbers[id] = 0
	default:
		return ReasonWrongType, "want true or false"
	}
	return "", ""
}

func (d *Decoder) parseText(id fieldID, text []byte) (Reason, string) {
	if len(text) == 0 {
		return ReasonEmpty, "an empty text says nothing; leave the field out"
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return ReasonNULByte, "a NUL character"
	}
	switch f := &fields[id]; f.shape {
	case shapeName:
		return checkName(text)
	case shapeWord:
		for i, word := range f.words {
			if string(text) == word {
				d.numbers[id] = int64(i)
				return "", ""
			}
		}
		return ReasonUnknownValue, "none of the words that the field knows"
	case shapeCurrency:
		if !money.Valid(string(text)) {
			return ReasonUnknownCurrency, "not an active ISO 4217 code"
		}
	case shapeDate:
		days, ok := parseDate(text)
		if !ok {
			return ReasonBadDate, "want a date YYYY-MM-DD of the years 2000 to 2099"
		}
		d.numbers[id] = days
	case shapeInstant:
		instant, zone, ok := parseInstant(text)
		if !ok {
			return ReasonBadDate, "want RFC 3339 with offset, years 2000 to 2099"
		}
		d.numbers[id] = instant
		if id == fBusinessTime {
			d.zone = span{d.texts[id].end - zone, d.texts[id].end}
		}
	case shapeKeyPart:
		if bytes.IndexByte(text, '|') >= 0 {
			return ReasonBadText, "may not contain '|', which separates the parts of a key"
		}
		return checkText(text)
	default:
		if reason, detail := checkText(text); reason != "" || f.identifier {
			return reason, detail
		}
		return d.nested.search(text)
	}
	return "", ""
}

// checkText holds a free text to its limits.
func checkText(text []byte) (Reason, string) {
	// A text of few bytes cannot have many characters.
	if len(text) > maxTextRunes && utf8.RuneCount(text) > maxTextRunes {
		return ReasonTooLong, "more than 128 characters"
	}
	for _, c := range text {
		if c < ' ' || c == 0x7F {
			return ReasonBadText, "a control character"
		}
	}
	return "", ""
}

const maxNameBytes = 32

func checkName(text []byte) (Reason, string) {
	if len(text) > maxNameBytes {
		return ReasonTooLong, "more than 32 characters"
	}
	for _, c := range text {
		if !isAlphanumeric(c) && c != '_' && c != '.' && c != '-' {
			return ReasonBadText, "want letters, digits, '_', '.' and '-'"
		}
	}
	return "", ""
}

// parseNumber reads an integer. An amount's sign is judged when the whole record
// is known, because only a difference may be negative.
func (d *Decoder) parseNumber(id fieldID, value []byte) (Reason, string) {
	digits, negative := bytes.CutPrefix(value, []byte{'-'})
	if digits[0]-'0' >= 10 {
		return ReasonWrongType, "want a number"
	}
	limit, least := int64(maxAmountMinor), int64(-maxAmountMinor)
	if fields[id].shape == shapeCount {
		limit, least = math.MaxUint32, fields[id].least
	}
	var n int64
	for _, c := range digits {
		if c-'0' >= 10 {
			return ReasonNotInteger, "a point or an exponent; want an integer"
		}
		if n <= limit { // more digits change nothing, but a point may follow
			n = n*10 + int64(c-'0')
		}
	}
	if negative {
		n = -n
	}
	if n > limit || n < least {
		return ReasonOutOfRange, "outside the field's limits"
	}
	if len(value) >= minCardDigits {
		if reason, detail := d.nested.search(value); reason != "" {
			return reason, detail
		}
	}
	d.numbers[id] = n
	return "", ""
}

// parseCard reads the card number past the arena: its digits exist only in the
// record's own bytes until the token is made.
func (d *Decoder) parseCard(text []byte) (Reason, string) {
	const detail = "want a string of 13 to 19 digits"
	if len(text) < minCardDigits || len(text) > maxCardDigits {
		return ReasonBadText, detail
	}
	for _, c := range text {
		if c-'0' >= 10 {
			return ReasonBadText, detail
		}
	}
	d.cardSize = copy(d.card[:], text)
	return "", ""
}

// parseDate reads YYYY-MM-DD as days since 1970-01-01.
func parseDate(text []byte) (days int64, ok bool) {
	if len(text) != len("2006-01-02") || text[4] != '-' || text[7] != '-' {
		return 0, false
	}
	year, month, day := 100*twoDigits(text[0:])+twoDigits(text[2:]), twoDigits(text[5:]), twoDigits(text[8:])
	if year < 2000 || year > 2099 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, false
	}
	return daysSinceEpoch(year, month, day), true
}

// parseInstant reads RFC 3339 as Unix milliseconds, finer fractions cut off, and
// how many bytes at the end are the zone. A leap second is refused: none is
// known of in these years, and no clock here can show one.
func parseInstant(text []byte) (ms int64, zone int, ok bool) {
	const whole = len("2006-01-02T15:04:05")
	if len(text) <= whole || len(text) > whole+len(".123456789+08:00") || text[10] != 'T' || text[13] != ':' || text[16] != ':' {
		return 0, 0, false
	}
	days, ok0 := parseDate(text[:10])
	hour, minute, second := twoDigits(text[11:]), twoDigits(text[14:]), twoDigits(text[17:])
	if !ok0 || hour > 23 || minute > 59 || second > 59 {
		return 0, 0, false
	}
	ms = (days*24*60*60 + hour*60*60 + minute*60 + second) * 1000
	rest := text[whole:]
	if rest[0] == '.' {
		rest = rest[1:]
		digits := 0
		for scale := int64(100); digits < len(rest) && rest[digits]-'0' < 10; digits++ {
			ms += int64(rest[digits]-'0') * scale
			scale /= 10
		}
		if digits == 0 || digits > 9 {
			return 0, 0, false
		}
		rest = rest[digits:]
	}
	offset, ok := parseOffset(rest)
	return ms - offset, len(rest), ok
}

// parseOffset reads 'Z' or ±hh:mm as milliseconds east of UTC.
func parseOffset(text []byte) (ms int64, ok bool) {
	if len(text) == 1 {
		return 0, text[0] == 'Z'
	}
	if len(text) != len("+08:00") || text[0] != '+' && text[0] != '-' || text[3] != ':' {
		return 0, false
	}
	hour, minute := twoDigits(text[1:]), twoDigits(text[4:])
	if hour > 23 || minute > 59 {
		return 0, false
	}
	ms = (hour*60 + minute) * 60 * 1000
	if text[0] == '-' {
		ms = -ms
	}
	return ms, true
}

// twoDigits reads the number that a text begins with; what is no digit makes it
// larger than any part of a date or time, and than any part of a year's two.
func twoDigits(text []byte) int64 {
	tens, units := text[0]-'0', text[1]-'0'
	if tens > 9 || units > 9 {
		return noDigits
	}
	return int64(tens)*10 + int64(units)
}

// noDigits is out of every range, times a hundred too.
const noDigits = 1_000_000

func daysIn(year, month int64) int64 {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	default:
		return 31
	}
}

// daysSinceEpoch counts in years that begin in March, so that the leap day is
// the last: 153 days are any five months from there.
func daysSinceEpoch(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	const marchFirstOfYear0 = 719_468 // before 1970-01-01
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - marchFirstOfYear0
}
