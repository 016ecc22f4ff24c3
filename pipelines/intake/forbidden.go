package intake

// forbiddenNames are the fields that may never be stored, whatever they hold, at
// any depth: sensitive authentication data and expiry. A name is compared in
// lower case and without '_' and '-', so that TRACK-2 and emv_5A are caught.
var forbiddenNames = map[string]bool{
	"cvv": true, "cvv2": true, "cvc": true, "cvc2": true, "cvn": true, "cvn2": true,
	"track1": true, "track2": true, "track3": true, "trackdata": true,
	"pin": true, "pinblock": true,
	"expiry": true, "expirydate": true,
	"de14": true, "de34": true, "de35": true, "de36": true, "de45": true, "de52": true,
	"emv57": true, "emv56": true, "emv5a": true, "emv5f20": true, "emv5f24": true,
	"emv9f1f": true, "emv9f20": true, "emv9f6b": true,
}

// cardName is the folded name of the one field that may hold a card number.
const cardName = "cardnumber"

// longestForbidden bounds the names that are worth folding.
const longestForbidden = 24

// foldName is the form in which names are compared, in the caller's memory.
func foldName(dst *[longestForbidden]byte, name []byte) []byte {
	if len(name) > longestForbidden {
		return nil
	}
	n := 0
	for _, c := range name {
		switch {
		case c == '_' || c == '-':
			continue
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		}
		dst[n] = c
		n++
	}
	return dst[:n]
}

// nameRule says what a field's name alone decides.
type nameRule uint8

const (
	nameFree nameRule = iota
	nameForbidden
	nameCard
)

func ruleOfName(name []byte) nameRule {
	var memory [longestForbidden]byte
	folded := foldName(&memory, name)
	switch {
	case forbiddenNames[string(folded)]:
		return nameForbidden
	case string(folded) == cardName:
		return nameCard
	default:
		return nameFree
	}
}
