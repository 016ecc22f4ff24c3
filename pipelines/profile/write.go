package profile

import (
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json/jsontext"

	"settlewatch/pipelines/intake"
)

// write puts the documented record together.
func (k *maker) write(recipe *recipe, kind string, feed intake.Feed) *intake.DecodeError {
	k.json = append(k.json[:0], `{"type":`...)
	k.json = appendText(k.json, kind)
	currency := ""
	if recipe.currency != nil {
		var reason intake.Reason
		var detail string
		if currency, reason, detail = k.text(recipe.currency); reason != "" {
			return refuse(recipe.currency.name("currency"), reason, detail)
		}
	}
	var late []rule // file_id has no part in what a row says
	lineID, occurrence := false, false
	for _, rule := range recipe.rules {
		t := &targets[rule.target]
		if t.document == "" {
			continue
		}
		if t.name == "file_id" {
			late = append(late, rule)
			continue
		}
		written, err := k.field(rule, currency)
		if err != nil {
			return err
		}
		lineID = lineID || written && t.name == "line_id"
		occurrence = occurrence || written && t.name == "occurrence"
	}
	k.leftovers()
	if feed == intake.Settlement && !lineID && !occurrence {
		if n := k.occurrence(xxhash.Sum64(k.json)); n > 1 {
			k.json = append(k.json, `,"occurrence":`...)
			k.json = strconv.AppendUint(k.json, uint64(n), 10)
		}
	}
	for _, rule := range late {
		if _, err := k.field(rule, currency); err != nil {
			return err
		}
	}
	k.json = append(k.json, '}')
	return nil
}

// leftovers are what no field of the profile takes: kept, counted and part of
// what the row says.
func (k *maker) leftovers() {
	for i := range k.row.cells {
		c := &k.row.cells[i]
		name := k.place(i, c.name).leftover
		if c.value == "" || name == "" {
			continue
		}
		k.json = append(k.json, ',')
		k.json = append(k.json, name...)
		k.json = append(k.json, ':')
		k.json = appendText(k.json, c.value)
	}
}

// leftoverName keeps a column apart from the documented field of the same name.
func leftoverName(name string) string {
	if _, documented := fieldByDocument[name]; documented || name == "type" {
		return "raw." + name
	}
	return name
}

// field appends one member; absent ones are left out.
func (k *maker) field(r rule, currency string) (written bool, problem *intake.DecodeError) {
	t, v := &targets[r.target], r.value
	text, reason, detail := k.text(v)
	if reason == "" && text != "" {
		written = true
		k.json = append(k.json, members[r.target]...)
		reason, detail = k.fieldValue(t.class, v, text, currency)
	}
	if reason != "" {
		return false, refuse(v.name(t.name), reason, detail)
	}
	return written, nil
}

func (k *maker) fieldValue(c class, v *value, text, currency string) (intake.Reason, string) {
	switch c {
	case classAmount:
		amountMinor, reason, detail := v.amounts.minorUnits(text, currency)
		k.json = strconv.AppendInt(k.json, amountMinor, 10)
		return reason, detail
	case classCount:
		n, ok := readInteger(strings.TrimSpace(text))
		if !ok {
			return intake.ReasonNotInteger, "want a whole number"
		}
		k.json = strconv.AppendInt(k.json, n, 10)
	case classBool:
		switch strings.ToLower(text) {
		case "true", "yes", "y", "1":
			k.json = append(k.json, "true"...)
		case "false", "no", "n", "0":
			k.json = append(k.json, "false"...)
		default:
			return intake.ReasonUnknownValue, "want true, yes, y or 1, or else false, no, n or 0"
		}
	case classDate, classInstant:
		k.json = append(k.json, '"')
		if c == classInstant {
			var done bool
			if k.json, done = v.canonical(k.json, text); done {
				k.json = append(k.json, '"')
				return "", ""
			}
		}
		moment, _, ok := v.instant(text)
		if !ok {
			return intake.ReasonBadDate, "not in the profile's layout, or not in 2000 to 2099"
		}
		if c == classDate {
			k.json = moment.In(v.zone).AppendFormat(k.json, time.DateOnly)
		} else {
			k.json = moment.AppendFormat(k.json, "2006-01-02T15:04:05.999Z07:00")
		}
		k.json = append(k.json, '"')
	default:
		if k.row.plain && v.verbatim() {
			k.json = quote(k.json, text)
		} else {
			k.json = appendText(k.json, text)
		}
	}
	return "", ""
}

// appendText writes a JSON string. The readers have refused what is no UTF-8.
func appendText(dst []byte, text string) []byte {
	if intake.Plain(text) {
		return quote(dst, text)
	}
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}

func quote(dst []byte, text string) []byte {
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}
