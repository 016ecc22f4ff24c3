package ruleset

import (
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// Abilities are what the binary that is to judge by a CONFIG can do; the
// packages that can do it know.
type Abilities struct {
	JoinVersion uint32
	// TZData is the release of the time zone database, such as 2025c.
	TZData string
	// Calendar is the version of the cn-mainland calendar, such as 2026.1.
	Calendar string
}

// Default is the ordinary CONFIG for mainland China, one group for all
// acquirers: settled on the next working day, judged by what was paid out.
func Default(abilities Abilities, sources ...*event.ExpectedSource) *event.Config {
	return &event.Config{
		Rules:         "china-t1",
		JoinVersion:   abilities.JoinVersion,
		AlertVersion:  alert.Version,
		TzdataVersion: abilities.TZData,
		Calendars:     []*event.CalendarVersion{{Name: "cn-mainland", Version: abilities.Calendar}},
		Groups:        []*event.Group{{Name: "default", Sources: sources, Terms: DefaultTerms()}},
	}
}

// DefaultTerms are the ordinary terms of mainland China, with a new value on each
// call: T+1 counted from the clearing date, cut-off 23:00 but none for QR codes,
// evidence published by 10:00 with two hours of grace, refunds netted, a fee of
// 0.6 %.
func DefaultTerms() *event.Terms {
	cutoffMs := 23 * 60 * minuteMs
	return &event.Terms{
		Cycle:          "T+1",
		Calendar:       "cn-mainland",
		Zone:           "Asia/Shanghai",
		Counting:       event.Counting_COUNTING_FROM_CLEARING,
		CutoffMs:       &cutoffMs,
		ChannelCutoffs: []*event.ChannelCutoff{{Channel: "qr"}},
		PublishMs:      10 * 60 * minuteMs,
		GraceMs:        2 * 60 * minuteMs,
		Refunds:        event.RefundMode_REFUND_MODE_NETTED,
		Stage:          int32(event.Stage_STAGE_PAID_OUT),
		FeeBps:         60,
		MaxFeeBps:      1000,
		AllowanceBps:   11_500,
		LifeDays:       60,
		HoldCapDays:    30,
	}
}
