package join

import (
	"slices"
	"testing"

	"settlewatch/schemas/event"
)

func gross(t *event.Terms) { t.Refunds = event.RefundMode_REFUND_MODE_GROSS }

// The cases that every implementation of the two alerts must pass, by number. 33
// and 34 need feed completeness and batch lines, which are later work. The
// notation is that of script; want lists the revisions in order.
var cases = []struct {
	number  string
	about   string
	history script
	terms   func(*event.Terms)
	want    []string
	// what the last snapshot must count, where the case is about counting
	repeats, conflicts, mismatches, unmatched uint32
}{
	{number: "1", about: "nothing settled", history: "A100 due", want: []string{"PU r1 OPEN 100"}},
	{number: "2", about: "settled late", history: "A100 due due+3d S100 now due+4d", want: []string{"PU r1 OPEN 100", "PU r2 RESOLVED 100 settled late 3"}},
	{number: "3", about: "line before the sale", history: "S100 A100 due"},
	{number: "4", about: "never captured", history: "a100 due"},
	{number: "5", about: "declined", history: "A!100 due"},
	{number: "6", about: "outcome unknown", history: "A?100 due"},
	{number: "7", about: "a line proves an unknown sale", history: "A?100 S100 due"},
	{number: "8", about: "reversed", history: "A100 R due"},
	{number: "9", about: "reversal first", history: "R A100 due"},
	{number: "10", about: "12 proves no reversal", history: "A100 R12 due", want: []string{"PU r1 OPEN 100"}},
	{number: "11", about: "reversed late", history: "A100 due R due+1d", want: []string{"PU r1 OPEN 100", "PU r2 RESOLVED 100 reversed"}},
	{number: "12", about: "voided", history: "A100 V due"},
	{number: "13", about: "verification of zero", history: "A0 due"},
	{number: "14", about: "one capture of two settled", history: "a100 C60(1) C40(2) S60(1) due", want: []string{"PU/2 r1 OPEN 40"}},
	{number: "15", about: "rest settled late", history: "C100(1) S60(1) due S40(1) due+1d", want: []string{"PU/1 r1 OPEN 40", "PU/1 r2 RESOLVED 40 settled"}},
	{number: "16", about: "lines before the capture", history: "S50 S50 C100(1) due"},
	{number: "17", about: "too much, credited back", history: "C100(1) S60 S60 now K20 due", want: []string{"ST r1 OPEN 20", "ST r2 RESOLVED 20 credited"}},
	{number: "18", about: "twice, second reversed", history: "C100(1) S100(1)#x S100(1)#y now L100<y due", want: []string{"ST r1 OPEN 100", "ST r2 RESOLVED 100 line_reversed"}},
	{number: "19", about: "the same line again", history: "C100(1) S100(1)#x S100(1)#x due", repeats: 1},
	{number: "20", about: "the whole file again", history: "a100 C60(1) C40(2) S60(1)#x S40(2)#y S60(1)#x S40(2)#y due", repeats: 2},
	{number: "21", about: "identical rows, two captures", history: "a200 C100(1) C100(2) S100#x S100#y due"},
	{number: "21b", about: "identical rows, one capture", history: "a100 C100(1) S100#x S100#y due", want: []string{"ST r1 OPEN 100"}},
	{number: "22", about: "same line, other content", history: "C100(1) S100(1)#x S110(1)#x due", conflicts: 1},
	{number: "23", about: "payout returned and sent again", history: "C100(1) S100(1)#x P100<x due S100(1)#y due+1d", want: []string{"PU/1 r1 OPEN 100", "PU/1 r2 RESOLVED 100 settled"}},
	{number: "24", about: "line reversed after due", history: "C100(1) S100(1)#x due L100<x due+1d", want: []string{"PU/1 r1 OPEN 100"}},
	{number: "24b", about: "reopened", history: "C100(1) due S100(1)#x due+1d L100<x due+2d", want: []string{"PU/1 r1 OPEN 100", "PU/1 r2 RESOLVED 100 settled", "PU/1 r3 OPEN 100"}},
	{number: "25", about: "net and fee", history: "C10000(1) N9940+60(1) due"},
	{number: "25b", about: "net, the fee does not explain it", history: "C10000(1) N9900+60(1) due", mismatches: 1},
	{number: "25c", about: "net, beyond the greatest fee share", history: "C10000(1) N8000+60(1) due", want: []string{"PU/1 r1 OPEN 2000"}},
	{number: "26", about: "refund netted", history: "C100(1) F30 S70(1) due"},
	{number: "26b", about: "refund gross", history: "C100(1) F30 S70(1) due", terms: gross, want: []string{"PU/1 r1 OPEN 30"}},
	{number: "27", about: "fully refunded", history: "A100 F100 due"},
	{number: "28", about: "completion within the allowance", history: "a100 C115(1) S115(1) due"},
	{number: "29", about: "duplicate presentment", history: "a100 C100(r1) C100(r2) S100(r1) S100(r2) due", want: []string{"ST r1 OPEN 100"}},
	{number: "30", about: "offline slip counts from its upload", history: "O100(1) now"},
	{number: "30b", about: "offline slip, due", history: "O100(1) due", want: []string{"PU/1 r1 OPEN 100"}},
	{number: "31", about: "chargeback and representment", history: "C100(1) S100(1) D100 D100 due"},
	{number: "35", about: "capture cancelled", history: "C100(1)#c due cancel<c due+1d", want: []string{"PU/1 r1 OPEN 100", "PU/1 r2 RETRACTED 100 cancelled"}},
	{number: "36", about: "rejected by the scheme", history: "C100(1) C!100(1) due"},
	{number: "37", about: "line exactly at evidence due", history: "A100 S100@due due"},
	{number: "38", about: "settled in steps", history: "A100 due S60 due+1d S40 due+2d", want: []string{"PU r1 OPEN 100", "PU r2 OPEN 40", "PU r3 RESOLVED 40 settled late 1"}},
	{number: "39", about: "one line for both names the first", history: "a100 C60(1) C40(2) S100(1) due", mismatches: 1},
	{number: "40", about: "line before its capture", history: "a100 C60(1) S60(1) S40(2) now C40(2) due"},
	{number: "41", about: "line names a capture never seen", history: "C100(1) S100(9) due", unmatched: 1},
	{number: "42", about: "settled in parts, then reversed", history: "A100 S60 S40 R due"},
	{number: "42b", about: "settled twice, then reversed", history: "A100 S100 S100 now R due", want: []string{"ST r1 OPEN 100"}},
	{number: "43", about: "credit adjustment opens no paid-unsettled", history: "C100(1) S100(1) K100 due"},
	{number: "44", about: "captures above the authorized amount", history: "a100 C60(1) C60(2) S60(1) S60(2) due", want: []string{"ST r1 OPEN 20"}},
	{number: "45", about: "a capture explains the excess", history: "C60(1) S60 S40 now C40(2) due", want: []string{"ST r1 OPEN 40", "ST r2 RESOLVED 40 captured"}},
	{number: "46", about: "proven sale, line reversed", history: "A?100 S60#x due L60<x due+1d", want: []string{"PU r1 OPEN 40", "PU r2 OPEN 100"}},
	{number: "47", about: "line corrected", history: "C100(1) S60(1)#x due fix<x:S100(1) due+1d", want: []string{"PU/1 r1 OPEN 40", "PU/1 r2 RETRACTED 40 corrected"}},
	{number: "48", about: "held", history: "A100 H2 due due+1d due+2d", want: []string{"PU r1 OPEN 100"}},
	{number: "49", about: "rejected after it was settled twice", history: "C100(1) S100(1) S100(1) now C!100(1) due", want: []string{"ST r1 OPEN 100"}},
}

// Case 32: two payments of the same amount, both settled, are two payments.
func TestTwoPaymentsAreNotTwice(t *testing.T) {
	one := script("A100 S100 due").records(t, testKey)
	two := script("A100 S100 due").records(t, "acq1|o|2")
	for i := range two {
		two[i].Origin.Offset += 100
	}
	if _, out := fold(t, testConfig(nil), append(one, two...)); len(out.Alerts) != 0 {
		t.Errorf("got %q, want none", briefs(out))
	}
}

// Case 48 again: the alert of a held payment speaks of the moment the hold ends.
func TestHeldAlertComesWhenTheHoldEnds(t *testing.T) {
	_, out := fold(t, testConfig(nil), script("A100 H2 due+2d").records(t, testKey))
	if len(out.Alerts) != 1 || out.Alerts[0].MomentJudged != instant(tuesday12+2*day) {
		t.Fatalf("got %+v, want one alert at %s", out.Alerts, instant(tuesday12+2*day))
	}
}

func TestCases(t *testing.T) {
	for _, c := range cases {
		t.Run(c.number+" "+c.about, func(t *testing.T) {
			_, out := fold(t, testConfig(c.terms), c.history.records(t, testKey))
			if got := briefs(out); !slices.Equal(got, c.want) {
				t.Errorf("%s\n got %q\nwant %q", c.history, got, c.want)
			}
			last := out.Payments[len(out.Payments)-1]
			got := [4]uint32{last.Repeats, last.Conflicts, last.Mismatches, last.Unmatched}
			if want := [4]uint32{c.repeats, c.conflicts, c.mismatches, c.unmatched}; got != want {
				t.Errorf("%s: repeats, conflicts, mismatches, unmatched %v, want %v", c.history, got, want)
			}
		})
	}
}
