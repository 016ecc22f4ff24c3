package conformance

import (
	"encoding/json"

	"settlewatch/schemas/alert"
)

// Cases are all rules, each with records that try it.
func Cases() []Case {
	a1, a2, a3 := one(0, 1, alert.Open), one(0, 2, alert.Resolved), one(0, 3, alert.Open)
	b1, b2, b3 := one(1, 1, alert.Open), one(1, 2, alert.Retracted), one(1, 3, alert.Open)
	c1, c2 := one(2, 1, alert.Open), one(2, 2, alert.Open, func(f map[string]any) { f["amount_minor"] = 50 })
	return []Case{
		{
			Name:  "an alert opens, is resolved, and opens again",
			Lives: [][]Record{{a1, a2, a3}}, Want: told(a1, a2, a3),
		},
		{
			Name:  "a retraction is acted on",
			Lives: [][]Record{{b1, b2}}, Want: told(b1, b2),
		},
		{
			Name:  "a changed amount is a revision",
			Lives: [][]Record{{c1, c2}}, Want: told(c1, c2),
		},
		{
			Name:  "every record comes twice",
			Lives: [][]Record{{a1, a1, a2, a2, b1, b1, b2, b2}}, Want: told(a1, a2, b1, b2),
		},
		{
			Name:  "a stretch of the topic comes again",
			Lives: [][]Record{{a1, b1, a2, b2, a1, b1, a2, b2, a3}}, Want: told(a1, b1, a2, b2, a3),
		},
		{
			Name:  "what was handled comes again after a restart",
			Lives: [][]Record{{a1, a2, b1}, {a1, a2, b1, b2}, {b1, b2, a3}}, Want: told(a1, a2, b1, b2, a3),
		},
		{
			Name:  "a lower revision comes late",
			Lives: [][]Record{{a1, a3, a2}}, Want: told(a1, a3),
		},
		{
			Name:  "a lower revision comes late, after a restart",
			Lives: [][]Record{{a1, a3}, {a2, a1, a3}}, Want: told(a1, a3),
		},
		{
			Name:  "an opening that comes after its retraction does not open",
			Lives: [][]Record{{b2, b1}, {b1}}, Want: told(b2),
		},
		{
			Name:  "a first revision that is not 1",
			Lives: [][]Record{{a2, b3}}, Want: told(a2, b3),
		},
		{
			Name:  "payments are in no order to each other",
			Lives: [][]Record{{b1, a1, c1, a2, b2, c2, b3, a3}}, Want: told(b1, a1, c1, a2, b2, c2, b3, a3),
		},
		unknownFields(),
		largeAmounts(),
		{
			Name:   "one revision with two bodies is refused",
			Lives:  [][]Record{{a1}, {one(0, 1, alert.Open, func(f map[string]any) { f["amount_minor"] = 1 })}},
			Want:   told(a1),
			Refuse: true,
		},
	}
}

// unknownFields may be added within a version, everywhere.
func unknownFields() Case {
	add := func(f map[string]any) {
		f["severity"] = map[string]any{"level": 3, "reasons": []string{"new"}}
		f["amounts"].(map[string]any)["fees_minor"] = 7 //nolint:forcetypeassert // ours
	}
	first, second := one(3, 1, alert.Open, add), one(3, 2, alert.Resolved, add)
	first.Headers["ce_dataschema"] = "https://example.org/alert.json"
	return Case{Name: "unknown fields and headers are ignored", Lives: [][]Record{{first, second, first}}, Want: told(first, second)}
}

// largeAmounts do not fit a double: a reader that parses numbers as such is off by one.
func largeAmounts() Case {
	set := func(amount string) func(map[string]any) {
		return func(f map[string]any) { f["amount_minor"] = json.Number(amount) }
	}
	first, second := one(4, 1, alert.Open, set("9007199254740993")), one(4, 2, alert.Resolved, set("9223372036854775807"))
	return Case{Name: "amounts are whole numbers of 64 bits", Lives: [][]Record{{first, second}}, Want: told(first, second)}
}
