package profile

// class is how a field's text is read and written into the documented record.
type class uint8

const (
	classText class = iota
	classAmount
	classCount
	classBool
	classDate
	classInstant
	// The classes below are not fields of the documented record.
	classArrival
	classCycle
	classOutcome
)

// target is a field that a profile can fill.
type target struct {
	name     string // in the profile
	document string // in the documented record; empty: this package's own
	class    class
}

// members are what stands before the fields' values in the documented record.
var members = memberTexts()

func memberTexts() []string {
	texts := make([]string, len(targets))
	for i, t := range targets {
		texts[i] = `,"` + t.document + `":`
	}
	return texts
}

// targets are all fields of the documented record but `type`, which `kind` says,
// and what only a profile knows. Amounts have no unit in their names here,
// because the unit is the profile's to say.
var targets = []target{
	{"acquirer", "acquirer", classText},
	{"event_id", "event_id", classText},
	{"batch_id", "batch_id", classText},
	{"line_id", "line_id", classText},
	{"occurrence", "occurrence", classCount},
	{"file_id", "file_id", classText},
	{"order_id", "order_id", classText},
	{"rrn", "rrn", classText},
	{"terminal_id", "terminal_id", classText},
	{"payment_date", "payment_date", classDate},
	{"merchant_id", "merchant_id", classText},
	{"channel", "channel", classText},
	{"stan", "stan", classText},
	{"operator", "operator", classText},
	{"stage", "stage", classText},
	{"currency", "currency", classText},
	{"amount", "amount_minor", classAmount},
	{"gross", "gross_minor", classAmount},
	{"net", "net_minor", classAmount},
	{"fee", "fee_minor", classAmount},
	{"approved", "approved_minor", classAmount},
	{"authorized_total", "authorized_total_minor", classAmount},
	{"replacement", "replacement_minor", classAmount},
	{"mode", "mode", classText},
	{"response_code", "response_code", classText},
	{"status", "status", classText},
	{"incremental", "incremental", classBool},
	{"delta", "delta", classBool},
	{"capture_id", "capture_id", classText},
	{"sequence", "sequence", classCount},
	{"final", "final", classBool},
	{"business_time", "business_time", classInstant},
	{"settlement_date", "settlement_date", classDate},
	{"operation", "operation", classText},
	{"replaces", "replaces", classText},
	{"replaces_batch_id", "replaces_batch_id", classText},
	{"takes_back_line_id", "takes_back_line_id", classText},
	{"takes_back_batch_id", "takes_back_batch_id", classText},
	{"hold_reason", "hold_reason", classText},
	{"hold_until", "hold_until", classInstant},
	{"card_number", "card_number", classText},
	{"arrival", "", classArrival},
	{"cycle", "", classCycle},
	{"outcome", "", classOutcome},
}

// targetByName and fieldByDocument find a field by either of its names.
var (
	targetByName    = indexTargets(func(t target) string { return t.name })
	fieldByDocument = indexTargets(func(t target) string { return t.document })
)

// indexTargets gives each field's place in targets.
func indexTargets(name func(target) string) map[string]int {
	index := make(map[string]int, len(targets))
	for i, t := range targets {
		if name(t) != "" {
			index[name(t)] = i
		}
	}
	return index
}

// words are the closed sets that constants and translations are held to when
// the profile is read, so that a misspelt one is not a million dead letters.
var words = map[string][]string{
	"stage":     {"cleared", "funded", "paid_out"},
	"mode":      {"single", "dual"},
	"status":    {"accepted", "requested", "failed", "rejected"},
	"operation": {"new", "correction", "cancellation"},
	"outcome":   {"unknown", "requested", "accepted", "failed", "rejected"},
}
