package intake

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// The base records of the examples: one of each type, and nothing more than it
// needs to be plausible.
const (
	baseAuthorization = `{"type":"authorization","acquirer":"acq-1","event_id":"a-1","order_id":"o-1","merchant_id":"898310158120004","amount_minor":10000,"currency":"CNY","mode":"single","response_code":"00","business_time":"2020-04-06T22:59:00+08:00"}`
	baseReversal      = `{"type":"reversal","acquirer":"acq-1","event_id":"r-1","order_id":"o-1","merchant_id":"898310158120004","response_code":"00","business_time":"2020-04-06T23:01:00+08:00"}`
	baseVoid          = `{"type":"void","acquirer":"acq-1","event_id":"v-1","order_id":"o-1","merchant_id":"898310158120004","response_code":"00","business_time":"2020-04-06T23:01:00+08:00"}`
	baseCapture       = `{"type":"capture","acquirer":"acq-1","event_id":"c-1","rrn":"000123456789","terminal_id":"T0000001","payment_date":"2020-04-06","merchant_id":"898310158120004","capture_id":"1","amount_minor":6000,"currency":"CNY","business_time":"2020-04-06T22:59:00+08:00"}`
	baseAdjustment    = `{"type":"adjustment","acquirer":"acq-1","event_id":"d-1","order_id":"o-1","merchant_id":"898310158120004","amount_minor":500,"currency":"CNY","business_time":"2020-04-06T22:59:00+08:00"}`
	baseLine          = `{"type":"line","acquirer":"acq-1","batch_id":"20200407","line_id":"17","order_id":"o-1","stage":"cleared","gross_minor":10000,"net_minor":9940,"fee_minor":60,"currency":"CNY"}`
	baseReturn        = `{"type":"payout_return","acquirer":"acq-1","batch_id":"20200408","line_id":"3","order_id":"o-1","amount_minor":10000,"currency":"CNY","takes_back_line_id":"17","takes_back_batch_id":"20200407","business_time":"2020-04-08T09:00:00+08:00"}`
	baseHold          = `{"type":"hold","acquirer":"acq-1","batch_id":"20200407","line_id":"h-1","order_id":"o-1","hold_reason":"risk","hold_until":"2020-04-10T00:00:00+08:00"}`
)

// edit changes members of a record: name, JSON value, name, JSON value …; an
// empty value removes the member.
func edit(base string, changes ...string) string {
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(base), &members); err != nil {
		panic(err)
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "" {
			delete(members, changes[i])
		} else {
			members[changes[i]] = json.RawMessage(changes[i+1])
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// example is one record and what becomes of it. An empty reason: it is accepted.
type example struct {
	name   string
	feed   Feed
	record string
	path   string
	reason Reason
	// The JSON Schema cannot say this; only the decoder refuses it.
	beyondSchema bool
}

func quoted(text string) string { return `"` + text + `"` }

// examples are held to the decoder and to the JSON Schemas.
func examples() []example {
	const pan = "4111111111111111"
	var (
		auth = func(changes ...string) string { return edit(baseAuthorization, changes...) }
		line = func(changes ...string) string { return edit(baseLine, changes...) }
		long = strings.Repeat("账", 128)
	)
	return []example{
		// Accepted.
		{"authorization", Authorization, baseAuthorization, "", "", false},
		{"reversal", Authorization, baseReversal, "", "", false},
		{"void", Authorization, baseVoid, "", "", false},
		{"capture", Capture, baseCapture, "", "", false},
		{"completion", Capture, edit(baseCapture, "type", `"completion"`), "", "", false},
		{"offline advice", Capture, edit(baseCapture, "type", `"offline_advice"`), "", "", false},
		{"refund", Capture, edit(baseCapture, "type", `"refund"`, "status", `"requested"`), "", "", false},
		{"adjustment", Capture, baseAdjustment, "", "", false},
		{"line", Settlement, baseLine, "", "", false},
		{"line without line id", Settlement, line("line_id", "", "occurrence", "2"), "", "", false},
		{"line, net only", Settlement, line("gross_minor", ""), "", "", false},
		{"line reversal", Settlement, edit(baseReturn, "type", `"line_reversal"`), "", "", false},
		{"payout return", Settlement, baseReturn, "", "", false},
		{"payout return that names no line", Settlement, edit(baseReturn, "takes_back_line_id", "", "takes_back_batch_id", ""), "", "", false},
		{"credit adjustment", Settlement, edit(baseReturn, "type", `"credit_adjustment"`), "", "", false},
		{"chargeback", Settlement, edit(baseReturn, "type", `"chargeback"`), "", "", false},
		{"representment", Settlement, edit(baseReturn, "type", `"representment"`), "", "", false},
		{"fee", Settlement, edit(baseReturn, "type", `"fee"`), "", "", false},
		{"hold", Settlement, baseHold, "", "", false},
		{"release", Settlement, edit(baseHold, "type", `"release"`, "hold_reason", "", "hold_until", ""), "", "", false},
		{"no reply", Authorization, auth("response_code", ""), "", "", false},
		{"verification of zero", Authorization, auth("amount_minor", "0"), "", "", false},
		{"largest amount", Authorization, auth("amount_minor", "9007199254740991"), "", "", false},
		{"128 characters", Authorization, auth("operator", quoted(long)), "", "", false},
		{"escapes", Authorization, auth("order_id", `"\u006f-1"`), "", "", false},
		{"UTC", Authorization, auth("business_time", `"2020-04-06T14:59:00.123456Z"`), "", "", false},
		{"leap day", Authorization, auth("settlement_date", `"2024-02-29"`), "", "", false},
		{"correction", Authorization, auth("operation", `"correction"`, "replaces", `"a-0"`), "", "", false},
		{"cancelled line of another batch", Settlement, line("operation", `"cancellation"`, "replaces", `"1"`, "replaces_batch_id", `"b"`), "", "", false},
		{"negative difference", Capture, edit(baseAdjustment, "amount_minor", "-500", "delta", "true"), "", "", false},
		{"card number in its place", Authorization, auth("card_number", quoted(pan)), "", "", false},
		{"unknown fields of every type", Authorization, auth("x", "null", "y", `{"a":[1,"b",{"c":1.5e3}]}`, "z", "[]", "w", "false"), "", "", false},
		{"merchant id that passes Luhn", Authorization, auth("merchant_id", `"898310158120004"`), "", "", false},
		{"identifiers of digits that look like a card", Settlement, line("file_id", quoted(pan), "rrn", quoted(pan), "stan", quoted(pan)), "", "", false},
		{"identifier of another feed", Settlement, line("event_id", quoted(pan)), "", "", false},
		{"trace id with digits that look like a card", Authorization, auth("trace_id", `"0af7651916cd43dd8448eb211c80319c"`, "u", `"550e8400-e29b-41d4-a716-446655440000"`), "", "", false},
		{"field that another type uses", Settlement, line("hold_reason", `"x"`, "takes_back_batch_id", `"b"`), "", "", false},
		{"currency without an amount", Settlement, edit(baseHold, "currency", `"CNY"`), "", "", false},

		// Not JSON, not one object.
		{"empty", Authorization, "", "", ReasonEmpty, false},
		{"white space", Authorization, " \n", "", ReasonEmpty, false},
		{"text", Authorization, "hello", "", ReasonNotJSON, false},
		{"cut off", Authorization, baseAuthorization[:strings.Index(baseAuthorization, "o-1")], "/order_id", ReasonNotJSON, false},
		{"two objects", Authorization, baseAuthorization + baseAuthorization, "", ReasonNotJSON, false},
		{"text behind the object", Authorization, baseAuthorization + "x", "", ReasonNotJSON, false},
		{"array", Authorization, "[" + baseAuthorization + "]", "", ReasonWrongType, false},
		{"null", Authorization, "null", "", ReasonWrongType, false},
		{"broken array", Authorization, "[1", "", ReasonNotJSON, false},
		{"comma too many", Authorization, strings.Replace(baseAuthorization, "}", ",}", 1), "", ReasonNotJSON, false},
		{"broken value", Authorization, `{"type":authorization}`, "/type", ReasonNotJSON, false},
		{"not UTF-8", Authorization, strings.Replace(baseAuthorization, "o-1", "o-\xff", 1), "/order_id", ReasonNotUTF8, true},
		{"name twice", Authorization, strings.Replace(baseAuthorization, `"mode"`, `"amount_minor":1,"mode"`, 1), "/amount_minor", ReasonDuplicateName, true},
		{"name twice, nested", Authorization, auth("x", `{"a":{"b":1,"b":2}}`), "/x/a/b", ReasonDuplicateName, true},
		{"1 MB", Authorization, auth("x", quoted(strings.Repeat("x", 1<<20))), "", ReasonTooLarge, true},
		{"NUL byte", Authorization, strings.Replace(baseAuthorization, "o-1", "o-\x001", 1), "/order_id", ReasonNULByte, false},
		{"only NUL bytes", Authorization, "\x00\x00", "", ReasonNULByte, false},
		{"escaped NUL", Authorization, auth("order_id", `"o-\u0000"`), "/order_id", ReasonNULByte, false},
		{"escaped NUL in an unknown field", Authorization, auth("x", `[1,"\u0000"]`), "/x/1", ReasonNULByte, false},
		{"escaped NUL in a name", Authorization, auth("x\x00", `1`), "/x\uFFFD", ReasonNULByte, false},

		// Wrong types.
		{"amount as text", Authorization, auth("amount_minor", `"10000"`), "/amount_minor", ReasonWrongType, false},
		{"amount null", Authorization, auth("amount_minor", "null"), "/amount_minor", ReasonWrongType, false},
		{"amount true", Authorization, auth("amount_minor", "true"), "/amount_minor", ReasonWrongType, false},
		{"order as number", Authorization, auth("order_id", "1"), "/order_id", ReasonWrongType, false},
		{"acquirer as object", Authorization, auth("acquirer", "{}"), "/acquirer", ReasonWrongType, false},
		{"merchant as array", Authorization, auth("merchant_id", `["m"]`), "/merchant_id", ReasonWrongType, false},
		{"bool as text", Authorization, auth("incremental", `"true"`), "/incremental", ReasonWrongType, false},
		{"time as number", Authorization, auth("business_time", "1586185140000"), "/business_time", ReasonWrongType, false},
		{"card number as number", Authorization, auth("card_number", pan), "/card_number", ReasonWrongType, false},

		// Missing fields.
		{"no type", Authorization, auth("type", ""), "/type", ReasonMissingField, false},
		{"no acquirer", Authorization, auth("acquirer", ""), "/acquirer", ReasonMissingField, false},
		{"no event id", Authorization, auth("event_id", ""), "/event_id", ReasonMissingField, false},
		{"no merchant", Authorization, auth("merchant_id", ""), "/merchant_id", ReasonMissingField, false},
		{"no time", Authorization, auth("business_time", ""), "/business_time", ReasonMissingField, false},
		{"no amount", Authorization, auth("amount_minor", ""), "/amount_minor", ReasonMissingField, false},
		{"no currency", Authorization, auth("currency", ""), "/currency", ReasonMissingField, false},
		{"no mode", Authorization, auth("mode", ""), "/mode", ReasonMissingField, false},
		{"no amount of a capture", Capture, edit(baseCapture, "amount_minor", ""), "/amount_minor", ReasonMissingField, false},
		{"no reference", Authorization, auth("order_id", ""), "/order_id", ReasonMissingField, false},
		{"rrn without terminal", Capture, edit(baseCapture, "terminal_id", ""), "/terminal_id", ReasonMissingField, false},
		{"rrn without date", Capture, edit(baseCapture, "payment_date", ""), "/payment_date", ReasonMissingField, false},
		{"no batch", Settlement, line("batch_id", ""), "/batch_id", ReasonMissingField, false},
		{"no stage", Settlement, line("stage", ""), "/stage", ReasonMissingField, false},
		{"neither gross nor net", Settlement, line("gross_minor", "", "net_minor", ""), "/gross_minor", ReasonMissingField, false},
		{"no time of a chargeback", Settlement, edit(baseReturn, "type", `"chargeback"`, "business_time", ""), "/business_time", ReasonMissingField, false},
		{"correction of nothing", Authorization, auth("operation", `"correction"`), "/replaces", ReasonMissingField, false},
		{"cancellation of nothing", Settlement, line("operation", `"cancellation"`), "/replaces", ReasonMissingField, false},
		{"batch of no original", Settlement, line("replaces_batch_id", `"b"`), "/replaces", ReasonMissingField, false},
		{"batch of no line taken back", Settlement, edit(baseReturn, "takes_back_line_id", ""), "/takes_back_line_id", ReasonMissingField, false},

		// Wrong values.
		{"type of another feed", Authorization, auth("type", `"line"`), "/type", ReasonUnknownType, false},
		{"unknown mode", Authorization, auth("mode", `"triple"`), "/mode", ReasonUnknownValue, false},
		{"unknown status", Capture, edit(baseCapture, "status", `"done"`), "/status", ReasonUnknownValue, false},
		{"stage that no line has", Settlement, line("stage", `"returned"`), "/stage", ReasonUnknownValue, false},
		{"new that replaces", Authorization, auth("replaces", `"a-0"`), "/replaces", ReasonContradiction, false},
		{"unknown currency", Authorization, auth("currency", `"RMB"`), "/currency", ReasonUnknownCurrency, false},
		{"currency in lower case", Authorization, auth("currency", `"cny"`), "/currency", ReasonUnknownCurrency, false},
		{"empty currency", Authorization, auth("currency", `""`), "/currency", ReasonEmpty, false},
		{"empty order", Authorization, auth("order_id", `""`), "/order_id", ReasonEmpty, false},
		{"129 characters", Authorization, auth("operator", quoted(long+"x")), "/operator", ReasonTooLong, false},
		{"line break", Authorization, auth("operator", `"a\nb"`), "/operator", ReasonBadText, false},
		{"separator in a key part", Capture, edit(baseCapture, "rrn", `"1|2"`), "/rrn", ReasonBadText, false},
		{"acquirer with a space", Authorization, auth("acquirer", `"acq 1"`), "/acquirer", ReasonBadText, false},
		{"acquirer of 33 characters", Authorization, auth("acquirer", quoted(strings.Repeat("a", 33))), "/acquirer", ReasonTooLong, false},
		{"negative amount", Authorization, auth("amount_minor", "-1"), "/amount_minor", ReasonOutOfRange, false},
		{"negative gross", Settlement, line("gross_minor", "-1"), "/gross_minor", ReasonOutOfRange, false},
		{"negative adjustment that is no difference", Capture, edit(baseAdjustment, "amount_minor", "-500", "delta", "false"), "/amount_minor", ReasonOutOfRange, false},
		{"negative capture with a stray delta", Capture, edit(baseCapture, "amount_minor", "-1", "delta", "true"), "/amount_minor", ReasonOutOfRange, false},
		{"2^53", Authorization, auth("amount_minor", "9007199254740992"), "/amount_minor", ReasonOutOfRange, false},
		{"2^63", Authorization, auth("amount_minor", "9223372036854775808"), "/amount_minor", ReasonOutOfRange, false},
		{"2^64 + 1", Authorization, auth("amount_minor", "18446744073709551617"), "/amount_minor", ReasonOutOfRange, false},
		{"difference below the limit", Capture, edit(baseAdjustment, "amount_minor", "-9007199254740992", "delta", "true"), "/amount_minor", ReasonOutOfRange, false},
		{"amount with a point", Authorization, auth("amount_minor", "100.5"), "/amount_minor", ReasonNotInteger, false},
		{"amount with a point and zeros", Authorization, auth("amount_minor", "100.0"), "/amount_minor", ReasonNotInteger, true},
		{"amount with an exponent", Authorization, auth("amount_minor", "1e4"), "/amount_minor", ReasonNotInteger, true},
		{"occurrence 0", Settlement, line("occurrence", "0"), "/occurrence", ReasonOutOfRange, false},
		{"sequence 2^32", Capture, edit(baseCapture, "sequence", "4294967296"), "/sequence", ReasonOutOfRange, false},
		{"month 13", Authorization, auth("settlement_date", `"2020-13-01"`), "/settlement_date", ReasonBadDate, false},
		{"30 February", Capture, edit(baseCapture, "payment_date", `"2020-02-30"`), "/payment_date", ReasonBadDate, false},
		{"29 February of a common year", Authorization, auth("settlement_date", `"2023-02-29"`), "/settlement_date", ReasonBadDate, false},
		{"year 9999", Authorization, auth("business_time", `"9999-12-31T23:59:59+08:00"`), "/business_time", ReasonBadDate, false},
		{"year 1999", Authorization, auth("settlement_date", `"1999-12-31"`), "/settlement_date", ReasonBadDate, false},
		{"date with slashes", Authorization, auth("settlement_date", `"2020/04/06"`), "/settlement_date", ReasonBadDate, false},
		{"time without offset", Authorization, auth("business_time", `"2020-04-06T22:59:00"`), "/business_time", ReasonBadDate, false},
		{"time with a space", Authorization, auth("business_time", `"2020-04-06 22:59:00+08:00"`), "/business_time", ReasonBadDate, false},
		{"25 o'clock", Authorization, auth("business_time", `"2020-04-06T25:00:00+08:00"`), "/business_time", ReasonBadDate, false},
		{"leap second", Authorization, auth("business_time", `"2016-12-31T23:59:60Z"`), "/business_time", ReasonBadDate, false},
		{"offset of 24 hours", Authorization, auth("business_time", `"2020-04-06T22:59:00+24:00"`), "/business_time", ReasonBadDate, false},
		{"fraction of nothing", Authorization, auth("business_time", `"2020-04-06T22:59:00.Z"`), "/business_time", ReasonBadDate, false},
		{"hold until 30 February", Settlement, edit(baseHold, "hold_until", `"2020-02-30T00:00:00Z"`), "/hold_until", ReasonBadDate, false},

		// What may never be stored.
		{"CVV", Authorization, auth("cvv", `"123"`), "/cvv", ReasonForbiddenField, false},
		{"CVV, other spelling", Authorization, auth("CVC2", `null`), "/CVC2", ReasonForbiddenField, false},
		{"expiry, nested", Authorization, auth("x", `{"card":[{"expiry_date":"2512"}]}`), "/x/card/0/expiry_date", ReasonForbiddenField, false},
		{"track field", Authorization, auth("Track-2", `""`), "/Track-2", ReasonForbiddenField, false},
		{"PIN block", Authorization, auth("pin_block", `"0123456789ABCDEF"`), "/pin_block", ReasonForbiddenField, false},
		{"EMV tag", Authorization, auth("emv_9F6B", `""`), "/emv_9F6B", ReasonForbiddenField, false},
		{"DE45", Authorization, auth("de45", `""`), "/de45", ReasonForbiddenField, false},
		{"card number nested", Authorization, auth("x", `{"card_number":"1"}`), "/x/card_number", ReasonCardNumber, false},
		{"card number, other spelling", Authorization, auth("cardNumber", `"1"`), "/cardNumber", ReasonCardNumber, false},
		{"card number of 12 digits", Authorization, auth("card_number", `"411111111111"`), "/card_number", ReasonBadText, false},
		{"card number with spaces", Authorization, auth("card_number", `"4111 1111 1111 1111"`), "/card_number", ReasonBadText, false},
		{"card number in the channel", Authorization, auth("channel", quoted(pan)), "/channel", ReasonCardNumber, true},
		{"card number in the currency", Authorization, auth("currency", quoted(pan)), "/currency", ReasonCardNumber, false},
		{"card number as amount", Authorization, auth("amount_minor", pan), "/amount_minor", ReasonCardNumber, true},
		{"card number in an unknown field", Authorization, auth("note", `"paid with 4111 1111-1111 1111."`), "/note", ReasonCardNumber, true},
		{"card number as unknown number", Authorization, auth("note", pan), "/note", ReasonCardNumber, true},
		{"card number inside of an unknown object", Authorization, auth("x", `{"a":["`+pan+`"]}`), "/x/a/0", ReasonCardNumber, true},
		{"card number in escapes", Authorization, auth("note", `"\u0034\u0031111111\u00311111111"`), "/note", ReasonCardNumber, true},
		{"card number in full-width digits", Authorization, auth("note", `"４１１１１１１１１１１１１１１１"`), "/note", ReasonCardNumber, true},
		{"card number as a name", Authorization, auth(pan, "1"), "/411111******1111", ReasonCardNumber, true},
		{"card number as a name inside", Authorization, auth("x", `{"`+pan+`":1}`), "/x/411111******1111", ReasonCardNumber, true},
		{"card number where an object should not be", Authorization, auth("order_id", `{"a":"`+pan+`"}`), "/order_id/a", ReasonCardNumber, false},
		{"own card number in an identifier", Authorization, auth("card_number", quoted("6222021234567890123"), "order_id", quoted("x6222021234567890123")), "/order_id", ReasonCardNumber, true},
		{"own card number in a longer number", Authorization, auth("card_number", quoted("6222021234567890123"), "x", `[{"n":1062220212345678901234}]`), "/x", ReasonCardNumber, true},
		{"track 2", Authorization, auth("note", `";4111111111111111=25121011234?"`), "/note", ReasonTrackData, true},
		{"track 2, with a D", Authorization, auth("note", `"57114111111111111111D25121011234"`), "/note", ReasonTrackData, true},
		{"track 1", Authorization, auth("operator", `"%B4111111111111111^DOE/J^25121011234?"`), "/operator", ReasonTrackData, true},
	}
}

var testKey = TokenKey{ID: "k1", Secret: []byte("a secret for tests only")}

func TestExamples(t *testing.T) {
	for _, e := range examples() {
		t.Run(e.name, func(t *testing.T) {
			decoded, err := NewDecoder(e.feed, testKey).Decode([]byte(e.record))
			if e.reason == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if decoded.GetPaymentKey() == "" || len(decoded.GetId()) != 16 {
					t.Fatalf("key %q, id %x", decoded.GetPaymentKey(), decoded.GetId())
				}
				return
			}
			var refusal *DecodeError
			if !errors.As(err, &refusal) || decoded != nil {
				t.Fatalf("accepted, or refused without a DecodeError: %v", err)
			}
			if refusal.Path != e.path || refusal.Reason != e.reason {
				t.Errorf("got %q %s (%v), want %q %s", refusal.Path, refusal.Reason, err, e.path, e.reason)
			}
			if strings.Contains(err.Error(), "4111111111111111") {
				t.Errorf("the error shows a card number: %v", err)
			}
		})
	}
}
