package traffic

import "time"

// ordinaryCases are the traffic between the planted ones: nothing here may raise
// an alert. Weights are parts of their sum.
var ordinaryCases = prepared([]Case{
	{Name: "sale", Words: "A, S", Weight: 480, Steps: []Step{sale(100), line(100)}},
	{
		Name: "sale, cleared at night", Words: "A, S cleared, S", Weight: 120,
		Steps: []Step{sale(100), line(100).staged("cleared").arrives(day(1, 2*time.Hour)), line(100)},
	},
	{
		Name: "sale, net of fee", Words: "A, S gross, net and fee", Weight: 60,
		Steps: []Step{sale(100), line(100).less(0.6)},
	},
	{Name: "capture", Words: "a, C, S", Weight: 120, Steps: []Step{authorized(100), captured(1, 100), line(100).names(1)}},
	{Name: "declined, funds", Words: "A 51", Weight: 35, Steps: []Step{sale(100).answered("51")}},
	{Name: "declined, PIN", Words: "A 55", Weight: 15, Steps: []Step{sale(100).answered("55")}},
	{Name: "declined, limit", Words: "A 61", Weight: 10, Steps: []Step{sale(100).answered("61")}},
	{Name: "timed out, reversed", Words: "A no reply, R 00", Weight: 15, Steps: []Step{sale(100).answered(noReply), reversed(accepted)}},
	{Name: "approved, reversed", Words: "A, R 00", Weight: 8, Steps: []Step{sale(100), reversed(accepted)}},
	{
		Name: "reversed by repeated messages", Words: "A, R 98, R 00", Weight: 4,
		Steps: []Step{sale(100), reversed(mistimed), reversed(accepted).happens(after(3 * time.Minute))},
	},
	{Name: "voided", Words: "A, V 00", Weight: 12, Steps: []Step{sale(100), voided(accepted)}},
	{
		Name: "capture voided", Words: "a, C, V 00 naming it", Weight: 4,
		Steps: []Step{authorized(100), captured(1, 100), voided(accepted).names(1)},
	},
	{
		Name: "refund netted", Words: "A, F30, S70", Weight: 12, Netted: true,
		Steps: []Step{sale(100), refunded(30), line(70)},
	},
	{
		Name: "refund gross", Words: "A, F30, S100", Weight: 4, Gross: true,
		Steps: []Step{sale(100), refunded(30), line(100)},
	},
	{Name: "refunded in full", Words: "A, F100", Weight: 5, Netted: true, Steps: []Step{sale(100), refunded(100)}},
	{
		Name: "refunded weeks later", Words: "A, S, F50", Weight: 10,
		Steps: []Step{sale(100), line(100), refunded(50).happens(day(18, 15*time.Hour))},
	},
	{
		Name: "shipped in two parts", Words: "a, C60 (1), S60, C40 (2) two days later, S40", Weight: 10,
		Steps: []Step{
			authorized(100), captured(1, 60), captured(2, 40).happens(day(2, 14*time.Hour)),
			line(60).names(1), line(40).names(2).arrives(file(0).later(2)),
		},
	},
	{
		Name: "two captures, lines name none", Words: "a, C60, C40, S60, S40", Weight: 8,
		Steps: []Step{authorized(100), captured(1, 60), captured(2, 40), line(60), line(40)},
	},
	{Name: "settled in two parts", Words: "A, S60, S40", Weight: 10, Steps: []Step{sale(100), line(60), line(40)}},
	{Name: "authorization expires", Words: "a", Weight: 12, Steps: []Step{authorized(100)}},
	{
		Name: "tip", Words: "a, C100, tip to 110, S110", Weight: 8,
		Steps: []Step{authorized(100), captured(1, 100), adjusted(1, 110), line(110).names(1)},
	},
	{
		Name: "amount lowered", Words: "a, C100, adjusted by -20, S80", Weight: 5,
		Steps: []Step{authorized(100), captured(1, 100), adjusted(1, -20).by(), line(80).names(1)},
	},
	{Name: "partly approved", Words: "A100 approved 60, S60", Weight: 5, Steps: []Step{partly(100, 60), line(60)}},
	{
		Name: "partly reversed", Words: "A100, R to 70, S70", Weight: 4,
		Steps: []Step{sale(100), reversed(accepted).toReplacement(70), line(70)},
	},
	{
		Name: "hotel stay", Words: "a100, a+50, completion 150, S150", Weight: 6,
		Steps: []Step{
			authorized(100), authorized(50).with(isIncremental).happens(after(time.Hour)),
			completed(1, 150).happens(after(2 * time.Hour)).with(isFinal), line(150).names(1),
		},
	},
	{Name: "line repeated", Words: "A, S, S repeated", Weight: 8, Steps: []Step{sale(100), line(100), again(2).arrives(due(graceEarly))}},
	{
		Name: "sale repeated", Words: "A, A repeated, S", Weight: 6,
		Steps: []Step{sale(100), again(1).arrives(after(5 * time.Minute)), line(100)},
	},
	{
		Name: "file sent again", Words: "A, S, whole file again", Weight: 8,
		Steps: []Step{sale(100), line(100).inFile(20), again(2).with(isRenamed).arrives(file(2))},
	},
	{
		Name: "capture overtakes its authorization", Words: "C, a, S", Weight: 8,
		Steps: []Step{authorized(100).arrives(after(25 * time.Minute)), captured(1, 100), line(100).names(1)},
	},
	{Name: "sale reported late", Words: "S, A", Weight: 5, Steps: []Step{sale(100).arrives(due(graceEarly)), line(100)}},
	{Name: "offline advice", Words: "offline C, S", Weight: 4, Steps: []Step{uploaded(1, 100, 1), line(100).names(1).arrives(file(0).later(1))}},
	{
		Name: "fee line", Words: "A, S, fee", Weight: 6,
		Steps: []Step{sale(100), line(100), beside("fee", 0.6).arrives(file(0))},
	},
	{Name: "verification", Words: "A0", Weight: 5, Steps: []Step{sale(0)}},
	{Name: "with unknown fields", Words: "A, S with unknown fields", Weight: 10, Steps: []Step{sale(100).with(isVaried), line(100).with(isVaried)}},
	{
		Name: "with a settlement date", Words: "A with DE15, S", Weight: 20,
		Steps: []Step{sale(100).with(hasSettlementDate), line(100)},
	},
})

// plantedCases are all that can be planted.
var plantedCases = prepared(numberedCases, moreNumberedCases, moreCases)

// prepared joins tables of cases and fills in what a step takes from the one
// that it repeats.
func prepared(tables ...[]Case) []Case {
	var out []Case
	for _, table := range tables {
		for _, c := range table {
			steps := make([]Step, len(c.Steps))
			for i, s := range c.Steps {
				if s.repeats > 0 {
					original := c.Steps[s.repeats-1]
					original.has |= s.has
					original.at, original.repeats = s.at, s.repeats
					s = original
				}
				steps[i] = s
			}
			c.Steps = steps
			out = append(out, c)
		}
	}
	return out
}
