package traffic

import "time"

const (
	accepted   = "00"
	noSuchTxn  = "12"
	mistimed   = "98" // no issuer reply at the switch
	noReply    = ""
	correct    = "correction"
	cancel     = "cancellation"
	morning    = 9*time.Hour + 30*time.Minute
	graceEarly = -time.Hour // one hour before the evidence is due
)

// numberedCases are the cases that every implementation of the two rules must
// pass, 1 to 25. Step numbers in again, replaces, lineReversed … count from 1.
var numberedCases = []Case{
	{
		Name: "01 sale never settled", Words: "A100, due", PerMille: 4,
		Steps: []Step{sale(100)},
		Want:  []Want{unsettled(100)},
	},
	{
		Name: "02 sale settled a day late", Words: "A100, due, S100", PerMille: 3,
		Steps: []Step{sale(100), line(100).arrives(file(1))},
		Want:  []Want{unsettled(100).resolved(2)},
	},
	{
		Name: "02b sale settled three days late", Words: "A100, due, S100",
		Steps: []Step{sale(100), line(100).arrives(file(3))},
		Want:  []Want{unsettled(100).resolved(2)},
	},
	{
		Name: "03 line before its sale", Words: "S100 before A100, due",
		Steps: []Step{sale(100).arrives(due(graceEarly)), line(100)},
	},
	{
		Name: "04 authorization never captured", Words: "a100, no C, due",
		Steps: []Step{authorized(100)},
	},
	{
		Name: "05 decline", Words: "A declined 51, due",
		Steps: []Step{sale(100).answered("51")},
	},
	{
		Name: "06 no reply", Words: "A no reply, due",
		Steps: []Step{sale(100).answered(noReply)},
	},
	{
		Name: "06b switch timeout", Words: "A 98, due",
		Steps: []Step{sale(100).answered(mistimed)},
	},
	{
		Name: "07 outcome unknown, settled", Words: "A outcome unknown, S100",
		Steps: []Step{sale(100).answered(mistimed), line(100)},
	},
	{
		Name: "08 reversed", Words: "A100, R accepted 00, due",
		Steps: []Step{sale(100), reversed(accepted)},
	},
	{
		Name: "09 reversal overtakes its sale", Words: "R arrives before A100, due",
		Steps: []Step{sale(100).arrives(after(10 * time.Minute)), reversed(accepted)},
	},
	{
		Name: "10 reversal answered 12", Words: "A100, next-day R answered 12, due",
		Steps: []Step{sale(100), reversed(noSuchTxn).happens(day(1, morning))},
		Want:  []Want{unsettled(100)},
	},
	{
		Name: "11 reversed after due", Words: "A100, due, R accepted",
		Steps: []Step{sale(100), reversed(accepted).happens(due(3 * time.Hour))},
		Want:  []Want{unsettled(100).resolved(2)},
	},
	{
		Name: "12 void", Words: "A100, V, due",
		Steps: []Step{sale(100), voided(accepted)},
	},
	{
		Name: "13 verification of zero", Words: "A0, due",
		Steps: []Step{sale(0)},
	},
	{
		Name: "14 one of two captures settled", Words: "a100, C60, C40, S60 for the first, due",
		Steps: []Step{authorized(100), captured(1, 60), captured(2, 40), line(60).names(1)},
		Want:  []Want{unsettled(40).of(2)},
	},
	{
		Name: "15 rest settled late", Words: "a100, C100, S60, due, S40",
		Steps: []Step{authorized(100), captured(1, 100), line(60).names(1), line(40).names(1).arrives(file(1))},
		Want:  []Want{unsettled(40).of(1).resolved(2)},
	},
	{
		Name: "16 lines before their capture", Words: "a100, S50, S50, then C100",
		Steps: []Step{authorized(100), captured(1, 100).arrives(due(graceEarly)), line(50), line(50)},
	},
	{
		Name: "17 settled 20 too much, credited", Words: "a100, C100, S60, S60, credit adjustment 20",
		Steps: []Step{
			authorized(100), captured(1, 100), line(60).names(1), line(60).names(1),
			beside("credit_adjustment", 20).names(1).arrives(file(1)),
		},
		Want: []Want{twice(20).resolved(2)},
	},
	{
		Name: "17b settled 20 too much", Words: "a100, C100, S60, S60",
		Steps: []Step{authorized(100), captured(1, 100), line(60).names(1), line(60).names(1)},
		Want:  []Want{twice(20)},
	},
	{
		Name: "18 settled twice", Words: "A100, S100 (batch 1), S100 (batch 2)", PerMille: 4,
		Steps: []Step{sale(100), line(100), line(100).arrives(file(1))},
		Want:  []Want{twice(100)},
	},
	{
		Name: "18b second line reversed", Words: "C100, S100 (batch 1), S100 (batch 2), reversal of batch 2's line", PerMille: 2,
		Steps: []Step{
			authorized(100), captured(1, 100), line(100).names(1), line(100).names(1).arrives(file(1)),
			lineReversed(4, 100).arrives(file(2)),
		},
		Want: []Want{twice(100).resolved(2)},
	},
	{
		Name: "19 line repeated", Words: "A100, S100, the same line at another offset", PerMille: 2,
		Steps: []Step{sale(100), line(100), again(2).arrives(due(graceEarly))},
	},
	{
		Name: "20 file sent again under a new name", Words: "A100, S100, whole file again, same batch", PerMille: 3,
		Steps: []Step{sale(100), line(100).inFile(20), again(2).with(isRenamed).arrives(due(graceEarly))},
	},
	{
		Name: "21 two equal rows, two captures", Words: "a200, C100, C100, two rows S100 in one file",
		Steps: []Step{authorized(200), captured(1, 100), captured(2, 100), line(100).rowless(1), line(100).rowless(2)},
	},
	{
		Name: "21b two equal rows, one capture", Words: "a100, C100, two rows S100 in one file",
		Steps: []Step{authorized(100), captured(1, 100), line(100).rowless(1), line(100).rowless(2)},
		Want:  []Want{twice(100)},
	},
	{
		Name: "22 line id with another amount", Words: "A100, S100, same line id S110",
		Steps: []Step{sale(100), line(100), line(110).withRow(2)},
	},
	{
		Name: "23 payout returned and paid again", Words: "A100, S100, returned, due, S100",
		Steps: []Step{sale(100), line(100), payoutReturned(2, 100).arrives(due(graceEarly)), line(100).arrives(file(1))},
		Want:  []Want{unsettled(100).resolved(2)},
	},
	{
		Name: "24 line reversed before due", Words: "a100, C100, S100, line reversed, due",
		Steps: []Step{authorized(100), captured(1, 100), line(100).names(1), lineReversed(3, 100).arrives(due(graceEarly))},
		Want:  []Want{unsettled(100).of(1)},
	},
	{
		Name: "24b line reversed after due", Words: "A100, S100, due, line reversed",
		Steps: []Step{sale(100), line(100), lineReversed(2, 100).arrives(file(1))},
		Want:  []Want{unsettled(100)},
	},
	{
		Name: "24c line reversed after it had resolved", Words: "A100, due, S100, line reversed",
		Steps: []Step{sale(100), line(100).arrives(file(1)), lineReversed(2, 100).arrives(file(2))},
		Want:  []Want{unsettled(100).revised(3)},
	},
	{
		Name: "25 net and stated fee", Words: "C100, gross 100, net 99.40, fee 0.60",
		Steps: []Step{authorized(100), captured(1, 100), line(100).less(0.6).names(1)},
	},
	{
		Name: "25b net only, configured fee explains it", Words: "A100, net 99.40",
		Steps: []Step{sale(100), netOnly(99.4)},
	},
	{
		Name: "25c net only, a mismatch", Words: "A100, net 97, within the maximum fee share",
		Steps: []Step{sale(100), netOnly(97)},
	},
	{
		Name: "25d net only, beyond any fee", Words: "A100, net 85, due",
		Steps: []Step{sale(100), netOnly(85)},
		Want:  []Want{unsettled(15)},
	},
}
