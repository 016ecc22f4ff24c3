package intake

import (
	"crypto/sha256"
	"unsafe"

	"settlewatch/schemas/event"
)

// parts is the event and those of its messages that many records have, so that
// they are one allocation, or none. Of memory that is lent again, what a record has is
// emptied, and the rest is not pointed to.
type parts struct {
	event      event.Event
	amounts    event.Amounts
	fee        event.Fee
	fees       [1]*event.Fee
	response   event.Response
	line       event.Line
	capture    event.CaptureRef
	time       event.Time
	parties    event.Parties
	card       event.Card
	provenance event.Provenance
	references [3]event.Reference
	list       [3]*event.Reference
	hashes     [4]event.ID // id, raw hash, replaced, taken back
	token      [sha256.Size]byte
	minor      [8]int64
	days       int32
	businessMs int64
}

// builder turns the arena into strings and fills one event.
type builder struct {
	*Decoder
	*parts
	kind *recordType
	text string // the arena
	used int    // of minor
	// class of the response code.
	class Class
}

// fill makes the event of a record that has passed every check. If it is lent,
// it and its texts are the decoder's own memory.
func (d *Decoder) fill(kind *recordType, lent bool) *event.Event {
	key := d.appendKey()
	d.collectLeftover(kind)
	b := builder{Decoder: d, kind: kind}
	if lent {
		b.parts, b.text = &d.lent, unsafe.String(unsafe.SliceData(d.arena), len(d.arena))
		b.event, b.amounts, b.provenance, b.parties = event.Event{}, event.Amounts{}, event.Provenance{}, event.Parties{}
	} else {
		b.parts, b.text = new(parts), string(d.arena)
	}
	e := &b.event
	e.PaymentKey = b.text[key.start:key.end]
	e.Kind, e.Mode, e.Side, e.Stage, e.AdjustmentTarget = kind.kind, kind.mode, kind.side, kind.stage, kind.target
	if b.uses(fMode) {
		e.Mode = event.Mode_MODE_SINGLE + event.Mode(b.numbers[fMode])
	}
	b.class = ClassOf(b.string(fResponseCode))
	e.Outcome = b.outcome()
	e.Operation = event.Operation_OPERATION_NEW + event.Operation(b.word(fOperation, operationNew))
	b.fillCard()
	b.fillIdentity()
	b.fillAmounts()
	b.fillResponse()
	b.fillReferences()
	b.fillLine()
	b.fillTime()
	b.fillParties()
	b.fillLeftover()
	return e
}

func (b *builder) string(id fieldID) string {
	if !b.uses(id) {
		return ""
	}
	return b.text[b.texts[id].start:b.texts[id].end]
}

// uses tells whether the record has the field and its type gives it a meaning.
func (b *builder) uses(id fieldID) bool { return (b.kind.uses & b.present).has(id) }

// word is the index of a word; silence means the given one.
func (b *builder) word(id fieldID, silence int64) int64 {
	if b.uses(id) {
		return b.numbers[id]
	}
	return silence
}

func (b *builder) flag(id fieldID) bool { return b.word(id, 0) == 1 }

// optional is a pointer to the field's number; nil where it is absent.
func (b *builder) optional(id fieldID) *int64 {
	if !b.uses(id) {
		return nil
	}
	place := &b.minor[b.used]
	b.used++
	*place = b.numbers[id]
	return place
}

func (d *Decoder) appendKey() span {
	start := len(d.arena)
	d.arena = append(d.arena, d.text(d.texts[fAcquirer])...)
	if d.has(fOrderID) {
		d.arena = append(d.arena, "|o|"...)
		d.arena = append(d.arena, d.text(d.texts[fOrderID])...)
		return span{start, len(d.arena)}
	}
	d.arena = append(d.arena, "|r|"...)
	d.arena = append(d.arena, d.text(d.texts[fRRN])...)
	d.arena = append(d.arena, '|')
	d.arena = append(d.arena, d.text(d.texts[fTerminalID])...)
	d.arena = append(d.arena, '|')
	d.arena = append(d.arena, d.text(d.texts[fPaymentDate])...)
	return span{start, len(d.arena)}
}

func (b *builder) outcome() event.Outcome {
	switch b.kind.outcome {
	case outcomeByClass:
		switch b.class {
		case ClassApproved:
			return event.Outcome_OUTCOME_ACCEPTED
		case ClassDeclined:
			return event.Outcome_OUTCOME_REJECTED
		default:
			return event.Outcome_OUTCOME_UNKNOWN
		}
	case outcomeByProof:
		if b.string(fResponseCode) == proven {
			return event.Outcome_OUTCOME_ACCEPTED
		}
		return event.Outcome_OUTCOME_UNKNOWN
	case outcomeByStatus:
		return statusOutcomes[b.word(fStatus, 0)]
	default:
		return event.Outcome_OUTCOME_ACCEPTED
	}
}

func (b *builder) fillCard() {
	if b.cardSize == 0 {
		return
	}
	c := &b.parts.card
	*c = event.Card{}
	c.Bin, c.Last4 = b.cardEnds()
	if b.mac != nil {
		b.mac.Reset()
		b.mac.Write(b.cardDigits())
		c.Token, c.KeyId = b.mac.Sum(b.token[:0]), b.keyID
	}
	b.event.Card = c
}

// cardEnds are the BIN, six digits, and the last four.
func (d *Decoder) cardEnds() (bin, last4 string) {
	card := d.cardDigits()
	return string(card[:6]), string(card[len(card)-4:])
}

func (b *builder) fillIdentity() {
	acquirer := b.string(fAcquirer)
	var id event.ID
	switch {
	case b.feed != Settlement:
		id = RecordID(b.feed, acquirer, b.string(fEventID))
	case b.has(fLineID):
		id = LineID(acquirer, b.string(fBatchID), b.string(fLineID))
	default:
		id = b.contentID(b.event.GetCard().GetToken())
	}
	b.hashes[0] = id
	b.event.Id = b.hashes[0][:]

	if b.has(fReplaces) {
		replaced := RecordID(b.feed, acquirer, b.string(fReplaces))
		if b.feed == Settlement {
			replaced = LineID(acquirer, b.batch(fReplacesBatchID), b.string(fReplaces))
		}
		b.hashes[2] = replaced
		b.event.Replaces = b.hashes[2][:]
	}

	if !b.skipsRawHash {
		b.hashes[1] = b.rawHash()
		b.provenance.RawHash = b.hashes[1][:]
	}
	b.event.Provenance = &b.provenance
}

// batch is the named batch, or else the record's own.
func (b *builder) batch(id fieldID) string {
	if b.uses(id) {
		return b.string(id)
	}
	return b.string(fBatchID)
}

// rawHash is SHA-256 of the raw bytes, cut to 128 bits, with the value of
// card_number left out: who knows the rest of a record could else find the
// number by trying.
func (d *Decoder) rawHash() (short [16]byte) {
	if d.cardSize == 0 {
		sum := sha256.Sum256(d.raw)
		return [16]byte(sum[:16])
	}
	h := sha256.New()
	h.Write(d.raw[:d.where[fCardNumber].start])
	h.Write(d.raw[d.where[fCardNumber].end:])
	copy(short[:], h.Sum(nil))
	return short
}

// fillAmounts: without an amount there is no message, also where a currency is given.
func (b *builder) fillAmounts() {
	if amountFields&b.present&b.kind.uses == 0 {
		return
	}
	a := &b.amounts
	a.Currency = b.string(fCurrency)
	a.GrossMinor = b.optional(fGross)
	a.NetMinor = b.optional(fNet)
	a.ApprovedMinor = b.optional(fApproved)
	a.AuthorizedTotalMinor = b.optional(fAuthorizedTotal)
	a.ReplacementMinor = b.optional(fReplacement)
	a.Delta = b.flag(fDelta)
	switch {
	case a.GrossMinor != nil:
		a.TransactionMinor = b.optional(fGross)
	case a.NetMinor != nil:
		a.TransactionMinor = b.optional(fNet)
	default:
		a.TransactionMinor = b.optional(fAmount)
	}
	if b.uses(fFee) {
		b.parts.fee = event.Fee{}
		b.parts.fee.AmountMinor = b.numbers[fFee]
		b.fees[0] = &b.fee
		a.Fees = b.fees[:]
	}
	b.event.Amounts = a
}

func (b *builder) fillResponse() {
	if code := b.string(fResponseCode); code != "" {
		r := &b.response
		*r = event.Response{}
		r.Code, r.Namespace, r.Class = code, "de39", string(b.class)
		b.event.Response = r
	}
	if b.flag(fIncremental) {
		b.event.Special = &event.Special{Incremental: true}
	}
	if b.kind.dispute != "" {
		b.event.Special = &event.Special{DisputeStage: b.kind.dispute}
	}
}

func (b *builder) fillReferences() {
	n := 0
	for _, r := range [...]struct {
		id   fieldID
		name string
	}{{fRRN, "rrn"}, {fSTAN, "stan"}, {fOrderID, "order"}} {
		if b.uses(r.id) {
			reference := &b.references[n]
			*reference = event.Reference{}
			reference.Type, reference.Value, reference.Scope = r.name, b.string(r.id), b.string(fAcquirer)
			b.list[n] = reference
			n++
		}
	}
	b.event.References = b.list[:n:n]
	if b.uses(fCaptureID) || b.uses(fSequence) || b.uses(fFinal) {
		c := &b.capture
		*c = event.CaptureRef{}
		c.Id, c.Sequence, c.Final = b.string(fCaptureID), uint32(b.word(fSequence, 0)), b.flag(fFinal)
		b.event.Capture = c
	}
}

func (b *builder) fillLine() {
	if b.feed != Settlement {
		return
	}
	line := &b.line
	*line = event.Line{}
	line.BatchId, line.LineId, line.FileId = b.string(fBatchID), b.string(fLineID), b.string(fFileID)
	line.Occurrence = uint32(b.occurrence())
	if b.uses(fTakesBackLineID) {
		b.hashes[3] = LineID(b.string(fAcquirer), b.batch(fTakesBackBatchID), b.string(fTakesBackLineID))
		line.TakesBack = b.hashes[3][:]
	}
	b.event.Line = line
	if b.uses(fStage) {
		b.event.Stage = event.Stage_STAGE_CLEARED + event.Stage(b.numbers[fStage])
	}
	if b.uses(fHoldReason) || b.uses(fHoldUntil) {
		b.event.Due = &event.Due{HoldReason: b.string(fHoldReason), HoldUntilMs: b.optional(fHoldUntil)}
	}
}

func (b *builder) fillTime() {
	b.time = event.Time{}
	if b.uses(fBusinessTime) {
		b.businessMs = b.numbers[fBusinessTime]
		b.time.BusinessMs = &b.businessMs
		b.time.Zone, b.time.ZoneFrom = b.text[b.zone.start:b.zone.end], "record"
		b.event.Time = &b.time
	}
	if b.uses(fSettlementDate) {
		b.days = int32(b.numbers[fSettlementDate])
		b.time.SettlementDate = &b.days
		b.event.Time = &b.time
	}
}

func (b *builder) fillParties() {
	p := &b.parties
	p.Acquirer, p.Merchant, p.Terminal = b.string(fAcquirer), b.string(fMerchantID), b.string(fTerminalID)
	p.Channel, p.Operator = b.string(fChannel), b.string(fOperator)
	b.event.Parties = p
}
