package intake

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		// JSON.
		{"nothing to hide, byte for byte", "{ \"a\" : \"\\u0041\\n\",\n\"b\":[1.50,null]}", "{ \"a\" : \"\\u0041\\n\",\n\"b\":[1.50,null]}"},
		{"card number in its field", `{"card_number":"6222021234567890123"}`, `{"card_number":"622202*********0123"}`},
		{"in its field, not Luhn", `{"card_number":"6222021234567890124"}`, `{"card_number":"622202*********0124"}`},
		{"in its field, as a number", `{"card_number":6222021234567890123}`, `{"card_number":"622202*********0123"}`},
		{"in its field, with spaces", `{"card_number":"6222 0212 3456 7890 123"}`, `{"card_number":"622202*********0123"}`},
		{"anything else in its field", `{"card_number":"PAN 41111"}`, `{"card_number":"[removed]"}`},
		{"a short number in its field", `{"card_number":411111111111}`, `{"card_number":"[removed]"}`},
		{"an object in its field", `{"card_number":{"pan":["1"]},"a":1}`, `{"card_number":"[removed]","a":1}`},
		{"its field, nested and spelt otherwise", `{"x":{"Card-Number":null}}`, `{"x":{"Card-Number":"[removed]"}}`},
		{"in another field", `{"note":"card 4111-1111-1111-1111."}`, `{"note":"card 4111-11**-****-1111."}`},
		{"as a number", `{"n":4111111111111111}`, `{"n":"411111******1111"}`},
		{"as a fraction", `{"n":4111111111111111.5}`, `{"n":"411111******1111.5"}`},
		{"as a name", `{"4111111111111111":1}`, `{"411111******1111":1}`},
		{"in an array", `[["4111111111111111"]]`, `[["411111******1111"]]`},
		{"alone", `"4111111111111111"`, `"411111******1111"`},
		{"in escapes", `{"note":"\u003411111111111\u00311\u00311"}`, `{"note":"411111******1111"}`},
		{"in full-width digits", `{"note":"４１１１１１１１１１１１１１１１"}`, `{"note":"４１１１１１******１１１１"}`},
		{"two that overlap", `{"note":"4111111111111111 378282246310005"}`, `{"note":"411111******1111 378282*****0005"}`},
		{"identifiers stay", `{"merchant_id":"4111111111111111","rrn":4111111111111111}`, `{"merchant_id":"4111111111111111","rrn":4111111111111111}`},
		{"nested ones are none", `{"x":{"merchant_id":"4111111111111111"}}`, `{"x":{"merchant_id":"411111******1111"}}`},
		{"identifiers with the own card", `{"order_id":"x4111111111111111","card_number":"4111111111111111"}`, `{"order_id":"x411111******1111","card_number":"411111******1111"}`},
		{"own card in a longer number", `{"n":941111111111111112,"card_number":"4111111111111111"}`, `{"n":"9411111******11112","card_number":"411111******1111"}`},
		{"own card, overlapping itself", `{"rrn":"` + strings.Repeat("1", 30) + `","card_number":"1111111111111"}`, `{"rrn":"111111***111111***111111111111","card_number":"111111***1111"}`},
		{"name twice", `{"card_number":"4111111111111111","card_number":"5500000000000004","rrn":"5500000000000004"}`, `{"card_number":"411111******1111","card_number":"550000******0004","rrn":"550000******0004"}`},
		{"forbidden fields", `{"cvv":"123","x":[{"Track2":{"a":1},"EXPIRY":2512,"pin":null}],"y":1}`, `{"cvv":"[removed]","x":[{"Track2":"[removed]","EXPIRY":"[removed]","pin":"[removed]"}],"y":1}`},
		{"track data", `{"note":";4111111111111111=25121011234?"}`, `{"note":";[track data removed]?"}`},
		{"JSON inside of a string", `{"body":"{\"cvv\":\"12\\\"3\",\"a\":1}"}`, `{"body":"{\"cvv\":\"[removed]\",\"a\":1}"}`},
		{"invalid UTF-8 beside a card", "{\"a\":\"\xff4111111111111111\"}", "{\"a\":\"\uFFFD411111******1111\"}"},
		{"invalid UTF-8 alone stays", "{\"a\":\"\xff\"}", "{\"a\":\"\xff\"}"},

		// Not JSON.
		{"empty", "", ""},
		{"text", "paid 4111 1111 1111 1111 today", "paid 4111 11** **** 1111 today"},
		{"no identifiers in broken JSON", `{"merchant_id":"4111111111111111"`, `{"merchant_id":"411111******1111"`},
		{"escapes in broken JSON", `{"a":"\u003411111111111\u00311\u00311`, `{"a":"411111******1111`},
		{"escapes with nothing to hide stay", `{"a":"\u0041`, `{"a":"\u0041`},
		{"forbidden, broken JSON", `{"cvv": "12\"3", "track_data":{"a":"b"}`, `{"cvv": "[removed]", "track_data":[removed]`},
		{"forbidden, cut off", `{"cvv":"12`, `{"cvv":"[removed]`},
		{"forbidden, with nothing behind", `{"cvv":`, `{"cvv":`},
		{"forbidden, already removed", `cvv=[removed]&pin=1234`, `cvv=[removed]&pin=[removed]`},
		{"forbidden, as a form", "a=1&cvv2=123&expiry=2512&pin", "a=1&cvv2=[removed]&expiry=[removed]&pin"},
		{"forbidden, as lines", "cvc: 123\nname: x", "cvc: [removed]\nname: x"},
		{"forbidden, single quotes", "{'cvv': '123', 'a': 1}", "{'cvv': '[removed]', 'a': 1}"},
		{"forbidden, escaped quotes", `"{\"cvv\":\"123\",\"a\":1`, `"{\"cvv\":\"[removed]\",\"a\":1`},
		{"forbidden, XML", "<pin>1234</pin><a>1</a>", "<pin>[removed]</pin><a>1</a>"},
		{"card number field of broken JSON", `{"card_number":"12345",`, `{"card_number":"[removed]",`},
		{"names that only contain one", "spinning: 5, pinch=3", "spinning: 5, pinch=3"},
		{"binary", "\xff\xfe4\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x00", "\xff\xfe4\x001\x001\x001\x001\x001\x00*\x00*\x00*\x00*\x00*\x00*\x001\x001\x001\x001\x00"},
		// What the first mask leaves must not look like a number with its neighbour.
		{"neighbours", "4000001 4111111111111111", "400000* **1111******1111"},
	} {
		raw := []byte(c.raw)
		got := Mask(raw)
		if string(got) != c.want {
			t.Errorf("%s: %s\ngot  %q\nwant %q", c.name, c.raw, got, c.want)
		}
		if string(raw) != c.raw {
			t.Errorf("%s: the input was changed", c.name)
		}
		if again := Mask(got); !bytes.Equal(again, got) {
			t.Errorf("%s: masked again it becomes %q", c.name, again)
		}
	}
}

func TestMaskKeepsJSON(t *testing.T) {
	for _, e := range examples() {
		masked := Mask([]byte(e.record))
		if json.Valid([]byte(e.record)) && !json.Valid(masked) {
			t.Errorf("%s: became %s", e.name, masked)
		}
	}
}

func TestMaskIsLinear(t *testing.T) {
	// These take minutes where something is quadratic, and milliseconds here.
	for _, text := range []string{
		strings.Repeat("4 1 ", 1<<18), strings.Repeat("4111111111111111 ", 1<<16), strings.Repeat("4", 1<<20),
		strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000), strings.Repeat(`"cvv":`, 1<<17), strings.Repeat("B4111111111111^", 1<<16),
		`{"card_number":"1111111111111","rrn":"` + strings.Repeat("1", 1<<20) + `"}`,
	} {
		if len(Mask([]byte(text))) == 0 {
			t.Error("nothing left")
		}
	}
}
