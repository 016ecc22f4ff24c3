package profile

import (
	"regexp"
	"strings"
	"time"

	"settlewatch/pipelines/intake"
)

// origin is where a value's text comes from.
type origin uint8

const (
	fromColumn origin = iota
	fromConstant
	fromExpression
	fromParts
	fromContent  // a hash of all that the record says, and which of equal ones it is
	fromFileDate // the date of the file
	fromFileName // a part of the file's name
)

// value says how one field's text is made.
type value struct {
	origin     origin
	id         int // counts the values of a profile's mapping
	line       int // in the profile
	column     string
	constant   string
	expression *expression
	parts      []*value
	join       string
	pattern    *regexp.Regexp

	// words translate texts; a text that is not among them becomes otherwise, or is
	// refused. fallback stands in for what is absent.
	words                     map[string]string
	otherwise, fallback       string
	hasOtherwise, hasFallback bool
	optional                  bool

	layouts []string
	zone    *time.Location
	amounts amountFormat
	// at is a time of day, milliseconds after midnight, `days` later; at < 0: the
	// text's own time.
	atMs int64
	days int
}

// name is what an error says of where the value comes from.
func (v *value) name(field string) string {
	switch v.origin {
	case fromColumn:
		return v.column
	case fromParts:
		var names []string
		for _, part := range v.parts {
			if part.origin == fromColumn {
				names = append(names, part.column)
			}
		}
		if len(names) > 0 {
			return strings.Join(names, "+")
		}
	case fromConstant, fromExpression, fromContent, fromFileDate, fromFileName:
	}
	return field
}

// columns calls visit for every column that the value is made of; directly, where
// the column's text becomes the field's, or is a part of it.
func (v *value) columns(visit func(name string, direct, optional bool)) {
	switch v.origin {
	case fromColumn:
		visit(v.column, v.words == nil, v.optional || v.hasFallback)
	case fromExpression:
		if v.expression == nil {
			return // it could not be read, which has been said
		}
		for _, name := range v.expression.fields {
			visit(name, false, v.optional)
		}
	case fromParts:
		for _, part := range v.parts {
			part.columns(func(name string, _, optional bool) { visit(name, true, optional || v.optional) })
		}
	case fromConstant, fromContent, fromFileDate, fromFileName:
	}
}

// verbatim tells whether the text is a column's own, or a part of it.
func (v *value) verbatim() bool {
	return v.words == nil && !v.hasFallback && (v.origin == fromColumn && v.column[0] != '/' || v.origin == fromExpression && v.expression.part != nil)
}

// text is the value of the current row; empty where it is absent.
func (m *maker) text(v *value) (string, intake.Reason, string) {
	text, reason, detail := m.source(v)
	if reason != "" {
		return "", reason, detail
	}
	if text == "" {
		return v.fallback, "", ""
	}
	if v.words == nil {
		return text, "", ""
	}
	if word, found := v.words[text]; found {
		return word, "", ""
	}
	if v.hasOtherwise {
		return v.otherwise, "", ""
	}
	return "", intake.ReasonUnknownValue, "none of the texts that the profile translates"
}

func (m *maker) source(v *value) (string, intake.Reason, string) {
	switch v.origin {
	case fromColumn:
		return m.column(v, v.column), "", ""
	case fromConstant:
		return v.constant, "", ""
	case fromExpression:
		if p := v.expression.part; p != nil {
			if text, ok := p.of(m.column(v, p.column)); ok {
				return text, "", ""
			}
		}
		result, err := v.expression.run(&m.machine, m.environment)
		if err != nil {
			return "", intake.ReasonBadText, "the profile's expression has no result"
		}
		text, _ := result.(string) // nil says that the field is absent
		return text, "", ""
	case fromParts:
		parts := make([]string, 0, len(v.parts))
		for _, part := range v.parts {
			text, reason, detail := m.text(part)
			if reason != "" || text == "" {
				return "", reason, detail // without one of its parts the whole is absent
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, v.join), "", ""
	case fromContent:
		return m.contentID(), "", ""
	case fromFileDate:
		return m.environment.FileDate, "", ""
	case fromFileName:
		return m.fromName(v)
	}
	return "", "", ""
}

// column is the text of a column that the value asks for in every row.
func (m *maker) column(v *value, name string) string {
	if name == "" {
		return ""
	}
	return m.row.at(name, &m.hints[v.id])
}

// fromName is the first group of the pattern, or all that it matches.
func (m *maker) fromName(v *value) (string, intake.Reason, string) {
	match := v.pattern.FindStringSubmatch(m.environment.File)
	if match == nil {
		return "", intake.ReasonBadText, "the file's name does not fit the profile's pattern"
	}
	return match[len(match)-1], "", ""
}

// instant reads the text as a moment. fromProfile tells whether the zone is the
// profile's rather than the text's own.
func (v *value) instant(text string) (moment time.Time, fromProfile, ok bool) {
	for _, layout := range v.layouts {
		if moment, fromProfile, ok = readLayout(layout, text, v.zone); ok {
			break
		}
	}
	if !ok || moment.Year() < 2000 || moment.Year() > 2099 {
		return time.Time{}, false, false
	}
	if v.atMs >= 0 || v.days != 0 {
		local := moment.In(v.zone)
		year, month, day := local.Date()
		clock := time.Duration(v.atMs) * time.Millisecond
		if v.atMs < 0 {
			hour, minute, second := local.Clock()
			clock = time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
		}
		// Wall clock, not hours since midnight: the two differ when clocks change.
		moment = time.Date(year, month, day+v.days, int(clock/time.Hour), int(clock%time.Hour/time.Minute),
			int(clock%time.Minute/time.Second), int(clock%time.Second), v.zone)
	}
	return moment, fromProfile, true
}

// canonical writes an instant as the documented record has it, if the text is RFC
// 3339 in UTC, to the second or millisecond, and nothing is to be done with it.
func (v *value) canonical(dst []byte, text string) ([]byte, bool) {
	if _, ok := v.utc(text); !ok {
		return dst, false
	}
	text = text[:len(text)-1]
	if len(text) > len("2006-01-02T15:04:05") {
		for text[len(text)-1] == '0' {
			text = text[:len(text)-1]
		}
		text = strings.TrimSuffix(text, ".")
	}
	return append(append(dst, text...), 'Z'), true
}

// utc reads such an instant as Unix milliseconds, faster than a layout can.
func (v *value) utc(text string) (ms int64, ok bool) {
	const seconds, milliseconds = len("2006-01-02T15:04:05Z"), len("2006-01-02T15:04:05.000Z")
	if !v.mayBeUTC() || len(text) != seconds && len(text) != milliseconds || text[len(text)-1] != 'Z' {
		return 0, false
	}
	return intake.Instant(text)
}

// mayBeUTC tells whether there are such instants.
func (v *value) mayBeUTC() bool {
	return v.layouts[0] == layoutRFC3339 && v.atMs < 0 && v.days == 0
}

// ownZone tells whether no layout leaves the zone to the profile.
func (v *value) ownZone() bool {
	for _, layout := range v.layouts {
		if layout != layoutRFC3339 && (layout == layoutUnix || layout == layoutUnixMs || !layoutHasZone(layout)) {
			return false
		}
	}
	return true
}

// The layouts with names; all others are Go's reference time.
const (
	layoutRFC3339 = "rfc3339"
	layoutUnix    = "unix"
	layoutUnixMs  = "unix_ms"
)

func readLayout(layout, text string, zone *time.Location) (moment time.Time, fromProfile, ok bool) {
	switch layout {
	case layoutRFC3339:
		moment, err := time.Parse(time.RFC3339Nano, text)
		return moment, false, err == nil
	case layoutUnix, layoutUnixMs:
		n, ok := readInteger(text)
		if !ok {
			return time.Time{}, false, false
		}
		if layout == layoutUnix {
			return time.Unix(n, 0).In(zone), true, true
		}
		return time.UnixMilli(n).In(zone), true, true
	}
	moment, err := time.ParseInLocation(layout, text, zone)
	return moment, !layoutHasZone(layout), err == nil
}

// readInteger reads up to 15 digits.
func readInteger(text string) (n int64, ok bool) {
	if text == "" || len(text) > 15 || !onlyDigits(text) {
		return 0, false
	}
	for i := range len(text) {
		n = n*10 + int64(text[i]-'0')
	}
	return n, true
}

func layoutHasZone(layout string) bool {
	return strings.Contains(layout, "Z07") || strings.Contains(layout, "-07")
}
