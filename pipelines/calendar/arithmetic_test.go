package calendar

import (
	"strings"
	"testing"

	"settlewatch/schemas/event"
)

func TestArithmetic(t *testing.T) {
	as := func(*event.Terms) {}
	rollFirst := func(t *event.Terms) { t.Counting = event.Counting_COUNTING_ROLL_FIRST }
	for _, test := range []struct {
		clearing, cycle string
		change          func(*event.Terms)
		want            string
	}{
		{
			"2025-09-30", "", func(t *event.Terms) { t.ChannelCutoffs = nil },
			"T+1 on cn-mainland@2026.1: clearing 2025-09-30 (cut-off 23:00 Asia/Shanghai); 2025-10-01..08 off; money due 2025-10-09; evidence 10:00 + 2h0m grace Asia/Shanghai",
		},
		{
			"2025-05-13", "", as,
			"T+1 on cn-mainland@2026.1: clearing 2025-05-13 (cut-off 23:00 Asia/Shanghai, qr none); money due 2025-05-14; evidence 10:00 + 2h0m grace Asia/Shanghai",
		},
		{
			"2026-02-13", "T+2", as,
			"T+2 on cn-mainland@2026.1: clearing 2026-02-13 (cut-off 23:00 Asia/Shanghai, qr none); 2026-02-14 worked; 2026-02-15..23 off; money due 2026-02-24; evidence 10:00 + 2h0m grace Asia/Shanghai",
		},
		{
			"2025-01-25", "T+2", as, // the range of days off runs over the end of a month
			"T+2 on cn-mainland@2026.1: clearing 2025-01-25 (cut-off 23:00 Asia/Shanghai, qr none); 2025-01-26 worked; money due 2025-01-27; evidence 10:00 + 2h0m grace Asia/Shanghai",
		},
		{
			"2025-01-27", "", as,
			"T+1 on cn-mainland@2026.1: clearing 2025-01-27 (cut-off 23:00 Asia/Shanghai, qr none); 2025-01-28..2025-02-04 off; money due 2025-02-05; evidence 10:00 + 2h0m grace Asia/Shanghai",
		},
		{
			"2025-10-04", "", rollFirst,
			"T+1 on cn-mainland@2026.1: clearing 2025-10-04 (cut-off 23:00 Asia/Shanghai, qr none); rolled to 2025-10-09; 2025-10-04..08 off; money due 2025-10-10; evidence 10:00 + 2h0m grace Asia/Shanghai",
		},
		{
			"2025-10-04", "T+0", func(t *event.Terms) { t.PublishDays, t.PublishMs, t.GraceMs = 1, 9*hourMs+30*60_000+5_000, 1500 },
			"T+0 on cn-mainland@2026.1: clearing 2025-10-04 (cut-off 23:00 Asia/Shanghai, qr none); 2025-10-04..08 off; money due 2025-10-09; evidence 09:30:05 + 1d + 1.5s grace Asia/Shanghai",
		},
		{
			"2025-10-04", "D+1", func(t *event.Terms) {
				t.CutoffMs, t.ChannelCutoffs[0].CutoffMs = nil, ptr(2*hourMs+1)
			},
			"D+1 in calendar days: clearing 2025-10-04 (midnight Asia/Shanghai, qr 02:00:00.001); money due 2025-10-05; evidence 10:00 + 2h0m grace Asia/Shanghai",
		},
		{
			"2025-10-01", "W+1", as,
			"W+1 on cn-mainland@2026.1: clearing 2025-10-01 (cut-off 23:00 Asia/Shanghai, qr none); week ends 2025-10-05; 2025-10-06..08 off; money due 2025-10-09; evidence 10:00 + 2h0m grace Asia/Shanghai",
		},
		{
			"2025-10-01", "M+1", as,
			"M+1 on cn-mainland@2026.1: clearing 2025-10-01 (cut-off 23:00 Asia/Shanghai, qr none); month ends 2025-10-31; 2025-11-01..02 off; money due 2025-11-03; evidence 10:00 + 2h0m grace Asia/Shanghai",
		},
		{
			"2025-10-13", "T+50", as,
			"T+50 on cn-mainland@2026.1: clearing 2025-10-13 (cut-off 23:00 Asia/Shanghai, qr none); 2025-10-18..19 off; 2025-10-25..26 off; 2025-11-01..02 off; 2025-11-08..09 off; 2025-11-15..16 off; 2025-11-22..23 off; 2025-11-29..30 off; 2025-12-06..07 off; …; money due 2025-12-22; evidence 10:00 + 2h0m grace Asia/Shanghai",
		},
	} {
		terms := compile(t, test.change)
		due, err := terms.Due(day(t, test.clearing), test.cycle)
		if err != nil {
			t.Errorf("%s of %s: %v", test.cycle, test.clearing, err)
			continue
		}
		if got := terms.Arithmetic(day(t, test.clearing), due); got != test.want {
			t.Errorf("%s of %s:\n got %s\nwant %s", test.cycle, test.clearing, got, test.want)
		}
	}
}

func TestArithmeticListsSomeChannels(t *testing.T) {
	terms := compile(t, func(t *event.Terms) {
		for _, channel := range strings.Fields("a b c d e f g h i j") {
			t.ChannelCutoffs = append(t.ChannelCutoffs, &event.ChannelCutoff{Channel: channel})
		}
	})
	if got := terms.cutoffs(); !strings.HasSuffix(got, ", g none, …") {
		t.Errorf("got %s", got)
	}
}

// What Due did not answer is still shown, without a panic.
func TestArithmeticOfADueTimeFromElsewhere(t *testing.T) {
	terms := compile(t)
	for _, due := range []Due{{Cycle: "x"}, {Cycle: "T+1"}, {Cycle: "T+1", MoneyDue: DateOf(2027, 1, 4)}} {
		if got := terms.Arithmetic(DateOf(2026, 12, 31), due); got == "" {
			t.Errorf("%v has no line", due)
		}
	}
}
