package traffic

import "time"

// moreCases are what the issue names besides the numbered ones, and the corners
// of the rules that real feeds reach.
var moreCases = []Case{
	{
		Name: "whole file paid again", Words: "A100, S100; the file's captures again in a new batch", PerMille: 4,
		Steps: []Step{sale(100), line(100).inFile(40), line(100).inFile(41).arrives(file(1))},
		Want:  []Want{twice(100)},
	},
	{
		Name: "settled twice, payout returned", Words: "A100, S100, S100, the second returned",
		Steps: []Step{sale(100), line(100), line(100).arrives(file(1)), payoutReturned(3, 100).arrives(file(2))},
		Want:  []Want{twice(100).resolved(2)},
	},
	{
		Name: "settled twice again", Words: "A100, S100, S100, credit adjustment 100, S100",
		Steps: []Step{
			sale(100), line(100), line(100).arrives(file(1)),
			beside("credit_adjustment", 100).arrives(file(2)), line(100).arrives(file(3)),
		},
		Want: []Want{twice(100).revised(3)},
	},
	{
		Name: "cleared, never paid out", Words: "A100, S100 cleared, due", PerMille: 3,
		Steps: []Step{sale(100), line(100).staged("cleared")},
		Want:  []Want{unsettled(100)},
	},
	{
		Name: "part of a sale settled", Words: "A100, S60, due",
		Steps: []Step{sale(100), line(60)},
		Want:  []Want{unsettled(40)},
	},
	{
		Name: "capture never settled", Words: "a100, C100, due", PerMille: 3,
		Steps: []Step{authorized(100), captured(1, 100)},
		Want:  []Want{unsettled(100).of(1)},
	},
	{
		Name: "two captures never settled", Words: "a100, C60 (1), C40 (2), due",
		Steps: []Step{authorized(100), captured(1, 60), captured(2, 40)},
		Want:  []Want{unsettled(60).of(1), unsettled(40).of(2)},
	},
	{
		Name: "partly reversed, never settled", Words: "A100, R to 70, due",
		Steps: []Step{sale(100), reversed(accepted).toReplacement(70)},
		Want:  []Want{unsettled(70)},
	},
	{
		Name: "partly approved, never settled", Words: "A100 approved 60, due",
		Steps: []Step{partly(100, 60)},
		Want:  []Want{unsettled(60)},
	},
	{
		Name: "tip not settled", Words: "a100, C100, tip to 115, S100, due",
		Steps: []Step{authorized(100), captured(1, 100), adjusted(1, 115), line(100).names(1)},
		Want:  []Want{unsettled(15).of(1)},
	},
	{
		Name: "amount lowered after due", Words: "a100, C100, S90, due, adjusted to 90",
		Steps: []Step{
			authorized(100), captured(1, 100), line(90).names(1),
			adjusted(1, 90).happens(due(4 * time.Hour)),
		},
		Want: []Want{unsettled(10).of(1).resolved(2)},
	},
	{
		Name: "refunded after due", Words: "A100, due, F100", Netted: true,
		Steps: []Step{sale(100), refunded(100).happens(due(6 * time.Hour))},
		Want:  []Want{unsettled(100).resolved(2)},
	},
	{
		Name: "refunded in full, gross", Words: "A100, F100, refunds gross, due", Gross: true,
		Steps: []Step{sale(100), refunded(100)},
		Want:  []Want{unsettled(100)},
	},
	{
		Name: "hold released", Words: "A100, hold until due + 20 days, released due + 1 day",
		Steps: []Step{sale(100), held("minimum_payout", due(20*24*time.Hour)), released().arrives(due(24 * time.Hour))},
		Want:  []Want{unsettled(100)},
	},
	{
		Name: "held, then settled", Words: "A100, hold until due + 20 days, S100",
		Steps: []Step{sale(100), held("risk_review", due(20*24*time.Hour)), line(100).arrives(file(2))},
	},
	{
		Name: "correction before its line", Words: "A100, the correction to 100 of a line that comes later, then S60, due",
		Steps: []Step{
			sale(100), line(60).arrives(due(graceEarly)),
			line(100).replaces(2, correct),
		},
	},
	{
		Name: "capture failed", Words: "a100, C100 failed, due",
		Steps: []Step{authorized(100), captured(1, 100).is("failed")},
	},
	{
		Name: "capture requested, then accepted", Words: "a100, C100 requested, then accepted, due",
		Steps: []Step{authorized(100), captured(1, 100).is("requested"), captured(1, 100).is("accepted").happens(after(8 * time.Minute))},
		Want:  []Want{unsettled(100).of(1)},
	},
	{
		Name: "settlement date of the next day", Words: "A100 with DE15 of the day after, S100 as counted from it",
		Steps: []Step{sale(100).with(hasSettlementDate | isNextDay), line(100).arrives(file(0).later(1))},
	},
	{
		Name: "unknown fields", Words: "A100 with fields that no schema knows, due",
		Steps: []Step{sale(100).with(isVaried), line(100).with(isVaried)},
	},
}

// partly is a sale of which the issuer approved less than was asked.
func partly(amount, approved float64) Step {
	s := sale(amount).answered("10")
	s.has |= hasApproved
	s.approved = approved
	return s
}
