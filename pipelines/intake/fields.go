package intake

// fieldID is a field's place in the tables and in the sets below. Its order is
// the order in which missing fields are reported.
type fieldID uint8

// The fields of all feeds.
const (
	fType fieldID = iota
	fAcquirer
	fEventID
	fBatchID
	fLineID
	fOccurrence
	fFileID
	fOrderID
	fRRN
	fTerminalID
	fPaymentDate
	fMerchantID
	fChannel
	fSTAN
	fOperator
	fStage
	fAmount
	fGross
	fNet
	fFee
	fApproved
	fAuthorizedTotal
	fReplacement
	fCurrency
	fMode
	fResponseCode
	fStatus
	fIncremental
	fDelta
	fCaptureID
	fSequence
	fFinal
	fBusinessTime
	fSettlementDate
	fOperation
	fReplaces
	fReplacesBatchID
	fTakesBackLineID
	fTakesBackBatchID
	fHoldReason
	fHoldUntil
	fCardNumber
	fieldCount
)

// shape is how a field's value looks in JSON and what it becomes.
type shape uint8

const (
	shapeText     shape = iota // 1 to 128 characters, none a control character
	shapeName                  // the acquirer: few characters, for it heads every key
	shapeKeyPart               // text without '|', which separates the parts of a key
	shapeWord                  // one of the words in `words`, matched to its index
	shapeAmount                // integer of minor units, magnitude below 2^53
	shapeCount                 // integer from `least` to 2^32 − 1
	shapeBool                  // true or false
	shapeCurrency              // ISO 4217 code
	shapeDate                  // YYYY-MM-DD, 2000 to 2099; days since 1970-01-01
	shapeInstant               // RFC 3339 with offset, 2000 to 2099; Unix milliseconds
	shapeCard                  // 13 to 19 digits
)

// free tells whether a field of this shape may hold digits of the source's choice.
func (s shape) free() bool { return s == shapeText || s == shapeName || s == shapeKeyPart }

// feedSet says which feeds know a field.
type feedSet uint8

const (
	inAuthorization feedSet = 1 << Authorization
	inCapture       feedSet = 1 << Capture
	inSettlement    feedSet = 1 << Settlement
	inAll                   = inAuthorization | inCapture | inSettlement
)

type field struct {
	name  string
	feeds feedSet
	shape shape
	words []string
	least int64
	// An identifier may hold any digits: merchant ids and the like are not
	// searched for card numbers.
	identifier bool
}

// Indexes of the words that the code asks for.
const (
	modeSingle = 0
	modeDual   = 1

	operationNew          = 0
	operationCorrection   = 1
	operationCancellation = 2
)

// fields is the table of every documented field.
var fields = [fieldCount]field{
	fType:             {name: "type", feeds: inAll, shape: shapeText},
	fAcquirer:         {name: "acquirer", feeds: inAll, shape: shapeName, identifier: true},
	fEventID:          {name: "event_id", feeds: inAuthorization | inCapture, shape: shapeText, identifier: true},
	fBatchID:          {name: "batch_id", feeds: inSettlement, shape: shapeText, identifier: true},
	fLineID:           {name: "line_id", feeds: inSettlement, shape: shapeText, identifier: true},
	fOccurrence:       {name: "occurrence", feeds: inSettlement, shape: shapeCount, least: 1},
	fFileID:           {name: "file_id", feeds: inSettlement, shape: shapeText, identifier: true},
	fOrderID:          {name: "order_id", feeds: inAll, shape: shapeText, identifier: true},
	fRRN:              {name: "rrn", feeds: inAll, shape: shapeKeyPart, identifier: true},
	fTerminalID:       {name: "terminal_id", feeds: inAll, shape: shapeKeyPart, identifier: true},
	fPaymentDate:      {name: "payment_date", feeds: inAll, shape: shapeDate},
	fMerchantID:       {name: "merchant_id", feeds: inAll, shape: shapeText, identifier: true},
	fChannel:          {name: "channel", feeds: inAll, shape: shapeText},
	fSTAN:             {name: "stan", feeds: inAll, shape: shapeText, identifier: true},
	fOperator:         {name: "operator", feeds: inAll, shape: shapeText},
	fStage:            {name: "stage", feeds: inSettlement, shape: shapeWord, words: []string{"cleared", "funded", "paid_out"}},
	fAmount:           {name: "amount_minor", feeds: inAll, shape: shapeAmount},
	fGross:            {name: "gross_minor", feeds: inSettlement, shape: shapeAmount},
	fNet:              {name: "net_minor", feeds: inSettlement, shape: shapeAmount},
	fFee:              {name: "fee_minor", feeds: inSettlement, shape: shapeAmount},
	fApproved:         {name: "approved_minor", feeds: inAuthorization, shape: shapeAmount},
	fAuthorizedTotal:  {name: "authorized_total_minor", feeds: inAuthorization, shape: shapeAmount},
	fReplacement:      {name: "replacement_minor", feeds: inAuthorization, shape: shapeAmount},
	fCurrency:         {name: "currency", feeds: inAll, shape: shapeCurrency},
	fMode:             {name: "mode", feeds: inAuthorization, shape: shapeWord, words: []string{modeSingle: "single", modeDual: "dual"}},
	fResponseCode:     {name: "response_code", feeds: inAuthorization, shape: shapeText},
	fStatus:           {name: "status", feeds: inCapture, shape: shapeWord, words: []string{"accepted", "requested", "failed", "rejected"}},
	fIncremental:      {name: "incremental", feeds: inAuthorization, shape: shapeBool},
	fDelta:            {name: "delta", feeds: inCapture, shape: shapeBool},
	fCaptureID:        {name: "capture_id", feeds: inAll, shape: shapeText, identifier: true},
	fSequence:         {name: "sequence", feeds: inCapture, shape: shapeCount},
	fFinal:            {name: "final", feeds: inCapture, shape: shapeBool},
	fBusinessTime:     {name: "business_time", feeds: inAll, shape: shapeInstant},
	fSettlementDate:   {name: "settlement_date", feeds: inAll, shape: shapeDate},
	fOperation:        {name: "operation", feeds: inAll, shape: shapeWord, words: []string{operationNew: "new", operationCorrection: "correction", operationCancellation: "cancellation"}},
	fReplaces:         {name: "replaces", feeds: inAll, shape: shapeText, identifier: true},
	fReplacesBatchID:  {name: "replaces_batch_id", feeds: inSettlement, shape: shapeText, identifier: true},
	fTakesBackLineID:  {name: "takes_back_line_id", feeds: inSettlement, shape: shapeText, identifier: true},
	fTakesBackBatchID: {name: "takes_back_batch_id", feeds: inSettlement, shape: shapeText, identifier: true},
	fHoldReason:       {name: "hold_reason", feeds: inSettlement, shape: shapeText},
	fHoldUntil:        {name: "hold_until", feeds: inSettlement, shape: shapeInstant},
	fCardNumber:       {name: "card_number", feeds: inAll, shape: shapeCard},
}

// fieldSet is a set of fields, one bit each.
type fieldSet uint64

func setOf(ids ...fieldID) (set fieldSet) {
	for _, id := range ids {
		set |= 1 << id
	}
	return set
}

func (s fieldSet) has(id fieldID) bool { return s&(1<<id) != 0 }

// amountFields need a currency beside them.
var amountFields = setOf(fAmount, fGross, fNet, fFee, fApproved, fAuthorizedTotal, fReplacement)

// identifierNames are exempt from the search in every feed, also where the feed
// does not know the field.
var identifierNames = collectIdentifiers()

func collectIdentifiers() map[string]bool {
	names := map[string]bool{}
	for _, f := range fields {
		if f.identifier {
			names[f.name] = true
		}
	}
	return names
}

// knownFields are one feed's fields by name.
func knownFields(feed Feed) map[string]fieldID {
	known := map[string]fieldID{}
	for id, f := range fields {
		if f.feeds&(1<<feed) != 0 {
			known[f.name] = fieldID(id)
		}
	}
	return known
}

func pathOf(id fieldID) string { return "/" + fields[id].name }
