package alert

// Reasons lists every Closing.Reason. What ended an alert is always one of them,
// so that a subscriber can count them.
var Reasons = []string{
	"settled", "reversed", "voided", "refunded", "rejected", "adjusted",
	"line_reversed", "returned", "credited", "captured", "authorized",
	"corrected", "cancelled", "configuration",
}
