package intake

import "settlewatch/schemas/event"

// recordType is what one value of `type` means: which fields it needs and uses,
// and what of the event follows from it alone.
type recordType struct {
	name    string
	feed    Feed
	kind    event.Kind
	mode    event.Mode
	side    event.Side
	stage   event.Stage
	target  event.AdjustmentTarget
	outcome outcomeRule
	dispute string // dispute_stage

	required fieldSet
	// oneOf: at least one of these; empty: none is needed.
	oneOf fieldSet
	uses  fieldSet
}

// What every record may have, and what the feeds add to it.
var (
	usedByAll = setOf(fType, fAcquirer, fOrderID, fRRN, fTerminalID, fPaymentDate, fMerchantID, fChannel, fSTAN, fOperator,
		fCurrency, fBusinessTime, fSettlementDate, fCaptureID, fOperation, fReplaces, fCardNumber)
	usedByHost       = usedByAll | setOf(fEventID)
	usedBySettlement = usedByAll | setOf(fBatchID, fLineID, fOccurrence, fFileID, fReplacesBatchID)

	// A payment is always named; by which fields, checkKey decides.
	neededByHost       = setOf(fType, fAcquirer, fEventID, fMerchantID, fBusinessTime)
	neededBySettlement = setOf(fType, fAcquirer, fBatchID)
	neededWithTime     = neededBySettlement | setOf(fBusinessTime)
)

// recordTable lists every record type of every feed.
var recordTable = []recordType{
	{
		name: "authorization", feed: Authorization, kind: event.Kind_KIND_AUTHORIZATION,
		side: event.Side_SIDE_CREDIT, outcome: outcomeByClass,
		required: neededByHost | setOf(fAmount, fMode),
		uses:     usedByHost | setOf(fAmount, fMode, fResponseCode, fApproved, fAuthorizedTotal, fIncremental),
	},
	{
		name: "reversal", feed: Authorization, kind: event.Kind_KIND_REVERSAL,
		side: event.Side_SIDE_DEBIT, outcome: outcomeByProof,
		required: neededByHost,
		uses:     usedByHost | setOf(fResponseCode, fAmount, fReplacement),
	},
	{
		name: "void", feed: Authorization, kind: event.Kind_KIND_VOID,
		side: event.Side_SIDE_DEBIT, outcome: outcomeByProof,
		required: neededByHost,
		uses:     usedByHost | setOf(fResponseCode, fAmount, fReplacement),
	},

	{
		name: "capture", feed: Capture, kind: event.Kind_KIND_CAPTURE,
		mode: event.Mode_MODE_DUAL, side: event.Side_SIDE_CREDIT, outcome: outcomeByStatus,
		required: neededByHost | setOf(fAmount),
		uses:     usedByHost | setOf(fAmount, fStatus, fSequence, fFinal),
	},
	{
		name: "completion", feed: Capture, kind: event.Kind_KIND_CAPTURE,
		mode: event.Mode_MODE_DUAL, side: event.Side_SIDE_CREDIT, outcome: outcomeByStatus,
		required: neededByHost | setOf(fAmount),
		uses:     usedByHost | setOf(fAmount, fStatus, fSequence, fFinal),
	},
	{
		name: "offline_advice", feed: Capture, kind: event.Kind_KIND_CAPTURE,
		mode: event.Mode_MODE_OFFLINE, side: event.Side_SIDE_CREDIT, outcome: outcomeByStatus,
		required: neededByHost | setOf(fAmount),
		uses:     usedByHost | setOf(fAmount, fStatus, fSequence, fFinal),
	},
	{
		name: "refund", feed: Capture, kind: event.Kind_KIND_REFUND,
		side: event.Side_SIDE_DEBIT, outcome: outcomeByStatus,
		required: neededByHost,
		uses:     usedByHost | setOf(fAmount, fStatus),
	},
	{
		name: "adjustment", feed: Capture, kind: event.Kind_KIND_ADJUSTMENT,
		target: event.AdjustmentTarget_ADJUSTMENT_TARGET_OBLIGATION, outcome: outcomeByStatus,
		required: neededByHost,
		uses:     usedByHost | setOf(fAmount, fDelta, fStatus),
	},

	{
		name: "line", feed: Settlement, outcome: outcomeAccepted, kind: event.Kind_KIND_SETTLEMENT,
		mode: event.Mode_MODE_FILE, side: event.Side_SIDE_CREDIT,
		required: neededBySettlement | setOf(fStage), oneOf: setOf(fGross, fNet),
		uses: usedBySettlement | setOf(fStage, fGross, fNet, fFee),
	},
	{
		name: "line_reversal", feed: Settlement, outcome: outcomeAccepted, kind: event.Kind_KIND_LINE_REVERSAL,
		mode: event.Mode_MODE_FILE, side: event.Side_SIDE_DEBIT, stage: event.Stage_STAGE_REVERSED,
		required: neededWithTime,
		uses:     usedBySettlement | setOf(fAmount, fTakesBackLineID, fTakesBackBatchID),
	},
	{
		name: "payout_return", feed: Settlement, outcome: outcomeAccepted, kind: event.Kind_KIND_PAYOUT_RETURN,
		mode: event.Mode_MODE_FILE, side: event.Side_SIDE_DEBIT, stage: event.Stage_STAGE_RETURNED,
		required: neededWithTime,
		uses:     usedBySettlement | setOf(fAmount, fTakesBackLineID, fTakesBackBatchID),
	},
	{
		name: "credit_adjustment", feed: Settlement, outcome: outcomeAccepted, kind: event.Kind_KIND_ADJUSTMENT,
		mode: event.Mode_MODE_FILE, side: event.Side_SIDE_DEBIT,
		target:   event.AdjustmentTarget_ADJUSTMENT_TARGET_CREDIT,
		required: neededWithTime,
		uses:     usedBySettlement | setOf(fAmount),
	},
	{
		name: "chargeback", feed: Settlement, outcome: outcomeAccepted, kind: event.Kind_KIND_DISPUTE, dispute: "chargeback",
		mode: event.Mode_MODE_FILE, side: event.Side_SIDE_DEBIT,
		required: neededWithTime,
		uses:     usedBySettlement | setOf(fAmount),
	},
	{
		name: "representment", feed: Settlement, outcome: outcomeAccepted, kind: event.Kind_KIND_DISPUTE, dispute: "representment",
		mode: event.Mode_MODE_FILE, side: event.Side_SIDE_CREDIT,
		required: neededWithTime,
		uses:     usedBySettlement | setOf(fAmount),
	},
	{
		name: "fee", feed: Settlement, outcome: outcomeAccepted, kind: event.Kind_KIND_FEE,
		mode: event.Mode_MODE_FILE, side: event.Side_SIDE_DEBIT,
		required: neededWithTime,
		uses:     usedBySettlement | setOf(fAmount),
	},
	{
		name: "hold", feed: Settlement, outcome: outcomeAccepted, kind: event.Kind_KIND_HOLD,
		mode:     event.Mode_MODE_FILE,
		required: neededBySettlement,
		uses:     usedBySettlement | setOf(fHoldReason, fHoldUntil),
	},
	{
		name: "release", feed: Settlement, outcome: outcomeAccepted, kind: event.Kind_KIND_RELEASE,
		mode:     event.Mode_MODE_FILE,
		required: neededBySettlement,
		uses:     usedBySettlement,
	},
}

// recordTypes are one feed's record types by name.
func recordTypes(feed Feed) map[string]*recordType {
	types := map[string]*recordType{}
	for i := range recordTable {
		if recordTable[i].feed == feed {
			types[recordTable[i].name] = &recordTable[i]
		}
	}
	return types
}
