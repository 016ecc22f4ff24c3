package traffic

import "time"

// moreNumberedCases are the cases 26 to 49; 33 and 34 need feed completeness and
// batch lines, which come later.
var moreNumberedCases = []Case{
	{
		Name: "26 refund netted", Words: "C100, F30, S70, refunds netted", Netted: true, PerMille: 2,
		Steps: []Step{authorized(100), captured(1, 100), refunded(30), line(70).names(1)},
	},
	{
		Name: "26b refund gross", Words: "C100, F30, S70, refunds gross, due", Gross: true, PerMille: 2,
		Steps: []Step{authorized(100), captured(1, 100), refunded(30), line(70).names(1)},
		Want:  []Want{unsettled(30).of(1)},
	},
	{
		Name: "27 refunded in full", Words: "A100, F100, no line, due", Netted: true,
		Steps: []Step{sale(100), refunded(100)},
	},
	{
		Name: "28 completion above the authorization", Words: "a100, completion C115, S115",
		Steps: []Step{authorized(100), completed(1, 115), line(115).names(1)},
	},
	{
		Name: "29 presented twice", Words: "a100, C100 (1), C100 (2), S100, S100", PerMille: 2,
		Steps: []Step{authorized(100), captured(1, 100), captured(2, 100), line(100).names(1), line(100).names(2)},
		Want:  []Want{twice(100)},
	},
	{
		Name: "30 offline slip uploaded late", Words: "offline C100 of day d uploaded d+3, S100 as counted from d+3",
		Steps: []Step{uploaded(1, 100, 3), line(100).names(1).arrives(file(0).later(3))},
	},
	{
		Name: "30b offline slip never settled", Words: "offline C100 of day d uploaded d+3, due",
		Steps: []Step{uploaded(1, 100, 3)},
		Want:  []Want{unsettled(100).of(1)},
	},
	{
		Name: "31 dispute won", Words: "C100, S100, chargeback, representment 100",
		Steps: []Step{
			authorized(100), captured(1, 100), line(100).names(1),
			beside("chargeback", 100).arrives(file(3)), beside("representment", 100).arrives(file(5)),
		},
	},
	{
		Name: "32 paid twice, both settled", Words: "two payments A100, A100, S100 each",
		Steps: []Step{sale(100), line(100), sale(100).with(isSecond).happens(after(3 * time.Minute)), line(100).with(isSecond)},
	},
	{
		Name: "35 capture cancelled by a correction", Words: "a100, C100, due, C cancelled",
		Steps: []Step{authorized(100), captured(1, 100), captured(1, 100).replaces(2, cancel).arrives(due(5 * time.Hour))},
		Want:  []Want{unsettled(100).of(1).retracted(2)},
	},
	{
		Name: "36 capture rejected by the scheme", Words: "a100, C100, C rejected, due",
		Steps: []Step{authorized(100), captured(1, 100), captured(1, 100).is("rejected").happens(day(1, morning))},
	},
	{
		Name: "37 line exactly at evidence due", Words: "A100, S100 at the moment of evidence due", PerMille: 2,
		Steps: []Step{sale(100), line(100).arrives(due(0))},
	},
	{
		Name: "37b line a millisecond after evidence due", Words: "A100, due, S100 one millisecond later",
		Steps: []Step{sale(100), line(100).arrives(due(time.Millisecond))},
		Want:  []Want{unsettled(100).resolved(2)},
	},
	{
		Name: "38 settled late in two parts", Words: "A100, due, S60, later S40", PerMille: 2,
		Steps: []Step{sale(100), line(60).arrives(file(1)), line(40).arrives(file(2))},
		Want:  []Want{unsettled(40).resolved(3)},
	},
	{
		Name: "39 one line too large for its capture", Words: "a100, C60 (1), C40 (2), S100 naming 1, due",
		Steps: []Step{authorized(100), captured(1, 60), captured(2, 40), line(100).names(1)},
	},
	{
		Name: "40 line before the second capture", Words: "a100, C60 (1), S60 (1), S40 (2), then C40 (2)",
		Steps: []Step{
			authorized(100), captured(1, 60), line(60).names(1), line(40).names(2),
			captured(2, 40).arrives(due(graceEarly)),
		},
	},
	{
		Name: "41 line naming an unknown capture", Words: "a100, C100 (1), S100 naming 9, due",
		Steps: []Step{authorized(100), captured(1, 100), line(100).names(9)},
	},
	{
		Name: "42 settled in parts, then reversed", Words: "A100, S60, S40, R accepted",
		Steps: []Step{sale(100), line(60), line(40), reversed(accepted).happens(due(graceEarly))},
	},
	{
		Name: "42b settled twice, then reversed", Words: "A100, S100, S100, R accepted",
		Steps: []Step{sale(100), line(100), line(100), reversed(accepted).happens(due(graceEarly))},
		Want:  []Want{twice(100)},
	},
	{
		Name: "43 settled, then credited", Words: "C100, S100, credit adjustment 100, due",
		Steps: []Step{
			authorized(100), captured(1, 100), line(100).names(1),
			beside("credit_adjustment", 100).names(1).arrives(due(graceEarly)),
		},
	},
	{
		Name: "44 captures above the authorization", Words: "a100, C60 (1), C60 (2), S60 each",
		Steps: []Step{authorized(100), captured(1, 60), captured(2, 60), line(60).names(1), line(60).names(2)},
		Want:  []Want{twice(20)},
	},
	{
		Name: "45 excess explained by a capture", Words: "a100, C60 (1), S60, S40, then C40 (2)",
		Steps: []Step{authorized(100), captured(1, 60), line(60), line(40), captured(2, 40).arrives(due(graceEarly))},
		Want:  []Want{twice(40).resolved(2)},
	},
	{
		Name: "46 unknown sale, its line reversed", Words: "A unknown 100, S60, due, line reversed",
		Steps: []Step{sale(100).answered(mistimed), line(60), lineReversed(2, 60).arrives(file(1))},
		Want:  []Want{unsettled(100).revised(2)},
	},
	{
		Name: "47 line corrected", Words: "C100, S60, due, line corrected to 100",
		Steps: []Step{
			authorized(100), captured(1, 100), line(60).names(1),
			line(100).names(1).replaces(3, correct).arrives(file(1)),
		},
		Want: []Want{unsettled(40).of(1).retracted(2)},
	},
	{
		Name: "48 held, never settled", Words: "A100, hold until due + 2 days", PerMille: 2,
		Steps: []Step{sale(100), held("risk_review", due(48*time.Hour))},
		Want:  []Want{unsettled(100)},
	},
	{
		Name: "49 settled twice, then rejected", Words: "a100, C100 accepted, S100, S100, then C rejected",
		Steps: []Step{
			authorized(100), captured(1, 100), line(100).names(1), line(100).names(1),
			captured(1, 100).is("rejected").happens(due(graceEarly)),
		},
		Want: []Want{twice(100)},
	},
}
