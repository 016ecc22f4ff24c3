package intake

import "settlewatch/schemas/event"

// Class says what a response code (DE39) proves about an authorization.
type Class string

// The classes. A code that no list names is unknown, and so is no code at all:
// neither ever counts as approved.
const (
	ClassApproved Class = "approved"
	ClassDeclined Class = "declined"
	ClassUnknown  Class = "unknown"
)

// proven is the only code that proves a reversal or void. 25 and 12 merely end
// the terminal's retries: what became of the money is then unknown.
const proven = "00"

// responseClasses lists the codes whose meaning is known. 90, 92 and 96 are
// refusals by the network; 68, 91, 98 and the security codes A0 and A7 leave
// open what the issuer did; A2 and A4 to A6 are successes of transfers only.
var responseClasses = map[Class][]string{
	ClassApproved: {"00", "10", "11", "16", "Y1", "Y3"},
	ClassUnknown:  {"68", "91", "98", "A0", "A7", "A2", "A4", "A5", "A6"},
	ClassDeclined: {
		"01", "03", "04", "05", "13", "14", "15", "30", "34", "38", "40", "41", "43", "45", "51", "54", "55",
		"57", "58", "59", "61", "62", "65", "75", "90", "92", "96", "A1", "A3", "Z1", "Z3",
		"12", "22", "25", "64", "94", // relation errors: the original does not fit
	},
}

var classOfCode = invertClasses()

func invertClasses() map[string]Class {
	classes := map[string]Class{}
	for class, codes := range responseClasses {
		for _, code := range codes {
			classes[code] = class
		}
	}
	return classes
}

// ClassOf is the class of a response code; unknown where no list names it.
func ClassOf(code string) Class {
	switch code {
	case "":
		return ClassUnknown
	case proven: // nearly all of them
		return ClassApproved
	}
	if class, listed := classOfCode[code]; listed {
		return class
	}
	return ClassUnknown
}

// outcomeRule is where a record type's outcome comes from.
type outcomeRule uint8

const (
	// A settlement record reports what has happened.
	outcomeAccepted outcomeRule = iota
	// The response code's class.
	outcomeByClass
	// Accepted if the response code proves it, else unknown.
	outcomeByProof
	// The field `status`; absent means accepted.
	outcomeByStatus
)

// statusOutcomes goes with the allowed texts of the field `status`.
var statusOutcomes = [...]event.Outcome{
	event.Outcome_OUTCOME_ACCEPTED,
	event.Outcome_OUTCOME_REQUESTED,
	event.Outcome_OUTCOME_FAILED,
	event.Outcome_OUTCOME_REJECTED,
}
