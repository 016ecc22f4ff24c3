package profile

import (
	"reflect"
	"testing"

	"settlewatch/pipelines/intake"
)

func TestAmounts(t *testing.T) {
	major := plainAmount
	grouped := amountFormat{decimal: ".", group: ",", sign: signKeep}
	comma := amountFormat{decimal: ",", group: ".", sign: signKeep}
	minor := amountFormat{minor: true, decimal: ".", sign: signKeep}
	drop := amountFormat{decimal: ".", sign: signDrop}
	flip := amountFormat{decimal: ".", sign: signFlip}
	for _, c := range []struct {
		format         amountFormat
		text, currency string
		want           int64
		reason         intake.Reason
	}{
		{major, "12.34", "CNY", 1234, ""},
		{major, "12", "CNY", 1200, ""},
		{major, " 12.3 ", "CNY", 1230, ""},
		{major, "12.340", "CNY", 1234, ""}, // a zero more says nothing else
		{major, "12.345", "CNY", 0, intake.ReasonNotInteger},
		{major, "100", "JPY", 100, ""},
		{major, "100.5", "JPY", 0, intake.ReasonNotInteger},
		{major, "1.234", "KWD", 1234, ""},
		{major, "-5", "CNY", -500, ""},
		{major, "5-", "CNY", -500, ""},
		{major, "+5", "CNY", 500, ""},
		{major, "(5.00)", "CNY", -500, ""},
		{major, "(5.00", "CNY", 0, intake.ReasonBadText},
		{major, ".5", "CNY", 50, ""},
		{major, "5.", "CNY", 0, intake.ReasonBadText},
		{major, "1e3", "CNY", 0, intake.ReasonBadText},
		{major, "--5", "CNY", 0, intake.ReasonBadText},
		{major, "0x10", "CNY", 0, intake.ReasonBadText},
		{major, "NaN", "CNY", 0, intake.ReasonBadText},
		{major, "1,234.50", "CNY", 0, intake.ReasonBadText},
		{major, "12", "RMB", 0, intake.ReasonUnknownCurrency},
		{major, "0.07", "CNY", 7, ""}, // 0.07 × 100 is not 7 in floats
		{major, "90071992547409.93", "CNY", 9007199254740993, ""},
		{major, "99999999999999999999", "CNY", 0, intake.ReasonOutOfRange},
		{grouped, "1,234,567.50", "CNY", 123456750, ""},
		{grouped, "12,34,567.50", "CNY", 123456750, ""},
		{grouped, "1,23", "CNY", 0, intake.ReasonBadText},
		{grouped, ",123", "CNY", 0, intake.ReasonBadText},
		{grouped, "1234", "CNY", 123400, ""},
		{comma, "1.234,50", "EUR", 123450, ""},
		{comma, "1.234", "EUR", 123400, ""},
		{minor, "1234", "CNY", 1234, ""},
		{minor, "1234", "", 1234, ""},
		{minor, "12.00", "CNY", 0, intake.ReasonNotInteger},
		{drop, "-5", "CNY", 500, ""},
		{drop, "5", "CNY", 500, ""},
		{flip, "5", "CNY", -500, ""},
		{flip, "-5", "CNY", 500, ""},
	} {
		got, reason, _ := c.format.minorUnits(c.text, c.currency)
		if reason != c.reason || reason == "" && got != c.want {
			t.Errorf("%q %s: got %d %q, want %d %q", c.text, c.currency, got, reason, c.want, c.reason)
		}
	}
}

// Every field of the documented record can be filled by a profile.
func TestTargetsAreTheDocumentedFields(t *testing.T) {
	for _, name := range intake.FieldNames() {
		if _, found := fieldByDocument[name]; !found && name != "type" {
			t.Errorf("no profile can fill %s", name)
		}
	}
}

func TestExpressions(t *testing.T) {
	r := &row{}
	r.reset(1, nil)
	r.add("a", "1.234,50")
	r.add("b", "-0,50")
	env := newEnvironment(&r, amountFormat{decimal: ",", group: "."}, "file.csv")
	k := &maker{row: r, environment: env}
	for _, c := range []struct {
		text, want string
		reason     intake.Reason
	}{
		{`add(field("a"), field("b"))`, "1234,00", ""},
		{`sub(field("a"), "0,50")`, "1234,00", ""},
		{`negative(field("b")) ? "D" : "C"`, "D", ""},
		{`negative("0") ? "D" : "C"`, "C", ""},
		{`compare(field("a"), field("b")) > 0 ? "more" : "less"`, "more", ""},
		{`has("x") ? "x" : nil`, "", ""},
		{`date("23/09/2025", "02/01/2006")`, "2025-09-23", ""},
		{`date("x", "02/01/2006")`, "", intake.ReasonBadText},
		{`replace(file, ".csv", "")`, "file", ""},
		{`upper(trim(" x ")) + split("a-b", "-")[1]`, "Xb", ""},
		{`split("a", "-")[7]`, "", intake.ReasonBadText},
		{`add("x", "1")`, "", intake.ReasonBadText},
		{`negative("x") ? "" : ""`, "", intake.ReasonBadText},
		{`replace(replace(replace(replace(replace(file, "", file), "", file), "", file), "", file), "", file)`, "", intake.ReasonBadText},
	} {
		compiled, err := compile(c.text, reflect.String)
		if err != nil {
			t.Fatal(c.text, err)
		}
		got, reason, _ := k.text(&value{origin: fromExpression, expression: compiled})
		if got != c.want || reason != c.reason {
			t.Errorf("%s: got %.60q %q, want %q %q", c.text, got, reason, c.want, c.reason)
		}
	}
}
