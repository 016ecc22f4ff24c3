package traffic

import (
	"strconv"
	"time"

	"settlewatch/pipelines/calendar"
)

// The records are written by hand: at hundreds of thousands a second an encoder
// with reflection would be most of the cost. All text in them is made here and
// needs no escaping.

// render appends the JSON of step k.
func (g *Generator) render(b []byte, p *payment, k int) []byte {
	s := &p.story.Steps[k]
	if s.repeats > 0 {
		k = int(s.repeats) - 1 // content of the original; only file and arrival differ
	}
	atMs := g.arrival(p, k)
	b = text(b, `{"type":"`, s.typ)
	if s.feed == FeedSettlement {
		b = g.renderLineIdentity(b, p, k, s)
	} else {
		b = append(b, `","event_id":"`...)
		b = p.eventID(b, k)
		if s.ref > 0 {
			b = text(b, `","operation":"`, s.operation)
			b = append(b, `","replaces":"`...)
			b = p.eventID(b, int(s.ref)-1)
		}
	}
	b = text(b, `","acquirer":"`, p.acquirer)
	b = p.reference(b, s)
	b = g.renderParties(b, p, s)
	b = append(b, '"')
	b = g.renderTimes(b, p, s, atMs)
	b = renderAmounts(b, p, s)
	b = renderRest(b, p, s)
	if s.has&hasUntil != 0 {
		b = append(b, `,"hold_until":"`...)
		b = p.instant(b, g.momentOf(p, s.until))
		b = append(b, '"')
	}
	if s.has&isVaried != 0 {
		b = append(b, `,"region_code":"3101","risk":{"score":17,"tags":["new",null]},"loyalty":true`...)
	}
	return append(b, '}')
}

func text(b []byte, name, value string) []byte { return append(append(b, name...), value...) }

func (g *Generator) renderParties(b []byte, p *payment, s *Step) []byte {
	b = append(b, `","merchant_id":"`...)
	b = p.merchantID(b)
	if !p.byRRN {
		b = append(b, `","terminal_id":"`...)
		b = p.terminalID(b)
	}
	if s.feed == FeedSettlement {
		return b
	}
	b = text(b, `","channel":"`, p.channel)
	if s.feed == FeedAuthorization {
		b = append(b, `","stan":"`...)
		b = digits(b, int64(1+p.index%999_999), 6)
		b = append(b, `","operator":"op`...)
		b = digits(b, int64(p.merchant%30), 2)
		if s.typ == "authorization" {
			b = append(b, `","card_number":"`...)
			b = append(b, p.card[:p.cardLen]...)
		}
	}
	return b
}

// reference is the order id or RRN, terminal and date: what both sides carry.
func (p *payment) reference(b []byte, s *Step) []byte {
	if !p.byRRN {
		b = append(b, `","order_id":"`...)
		return p.orderID(b, s.has&isSecond != 0)
	}
	b = append(b, `","rrn":"`...)
	b = p.rrn(b, s.has&isSecond != 0)
	b = append(b, `","terminal_id":"`...)
	b = p.terminalID(b)
	b = append(b, `","payment_date":"`...)
	return date(b, p.day)
}

// key appends the payment key as the ingest services derive it.
func (p *payment) key(b []byte, second bool) []byte {
	b = append(b, p.acquirer...)
	if !p.byRRN {
		return p.orderID(append(b, "|o|"...), second)
	}
	b = p.rrn(append(b, "|r|"...), second)
	b = p.terminalID(append(b, '|'))
	return date(append(b, '|'), p.day)
}

func (p *payment) orderID(b []byte, second bool) []byte {
	b = append(b, 'O')
	b = digits(b, int64(p.index), 10)
	if second {
		b = append(b, 'B')
	}
	return b
}

func (p *payment) rrn(b []byte, second bool) []byte {
	n := 2 * int64(p.index)
	if second {
		n++
	}
	return digits(b, n, 12)
}

func (p *payment) merchantID(b []byte) []byte {
	b = append(b, "8983"...)
	b = digits(b, int64(10+p.acqIndex), 3)
	b = append(b, "5311"...)
	return digits(b, int64(p.merchant), 4)
}

func (p *payment) terminalID(b []byte) []byte {
	return digits(b, int64(30_000_000+p.acqIndex*1_000_000+p.merchant*10+p.terminal), 8)
}

func (p *payment) eventID(b []byte, k int) []byte {
	b = append(b, 'e')
	b = digits(b, int64(p.index), 10)
	b = append(b, '-')
	return strconv.AppendInt(b, int64(k+1), 10)
}

func (p *payment) captureID(b []byte, capture uint8) []byte {
	b = append(b, 'c')
	b = digits(b, int64(p.index), 10)
	b = append(b, '-')
	return strconv.AppendInt(b, int64(capture), 10)
}

// lineID of the settlement record of step k.
func (p *payment) lineID(b []byte, k int) []byte {
	row := p.story.Steps[k].row
	if row == 0 {
		row = uint8(k + 1)
	}
	b = digits(b, int64(p.index), 10)
	b = append(b, '.')
	return strconv.AppendInt(b, int64(row), 10)
}

// batchID is the file that the record of step k came in: the acquirer's, of the
// day of its arrival.
func (g *Generator) batchID(b []byte, p *payment, k int, s *Step) []byte {
	b = append(b, p.acquirer...)
	b = append(b, '-')
	year, month, dayOfMonth := localDate(g.arrival(p, k)).Civil()
	b = digits(b, int64(year*10_000+int(month)*100+dayOfMonth), 8)
	b = append(b, '-')
	return digits(b, int64(p.fileNumber(s)), 2)
}

// fileNumber is the merchant's file, or the one that the case names.
func (p *payment) fileNumber(s *Step) int {
	if s.batch > 0 {
		return int(s.batch)
	}
	return 1 + p.merchant%8
}

func (g *Generator) renderLineIdentity(b []byte, p *payment, k int, s *Step) []byte {
	b = append(b, `","batch_id":"`...)
	b = g.batchID(b, p, k, s)
	if s.has&isRowless == 0 {
		b = append(b, `","line_id":"`...)
		b = p.lineID(b, k)
	}
	b = append(b, `","file_id":"`...)
	b = g.batchID(b, p, k, s)
	if s.has&isRenamed != 0 {
		b = append(b, "-resent"...)
	}
	b = append(b, ".json"...)
	if s.ref == 0 {
		return b
	}
	ref := int(s.ref) - 1
	line, batch := `","takes_back_line_id":"`, `","takes_back_batch_id":"`
	if s.operation != "" {
		b = text(b, `","operation":"`, s.operation)
		line, batch = `","replaces":"`, `","replaces_batch_id":"`
	}
	b = append(b, line...)
	b = p.lineID(b, ref)
	b = append(b, batch...)
	return g.batchID(b, p, ref, &p.story.Steps[ref])
}

func (g *Generator) renderTimes(b []byte, p *payment, s *Step, atMs int64) []byte {
	bizMs := g.momentOf(p, s.biz)
	if s.has&hasBiz == 0 {
		// The settlement side knows the day; a file is made at six.
		if s.typ == "hold" || s.typ == "release" || s.typ == "line" && !p.hasBiz {
			return b
		}
		bizMs = localMs(localDate(atMs), 6*hourMs)
	}
	b = append(b, `,"business_time":"`...)
	b = p.instant(b, bizMs)
	b = append(b, '"')
	if s.has&hasSettlementDate != 0 {
		clearing := p.clearing
		if s.has&isNextDay != 0 {
			clearing++
		}
		b = append(b, `,"settlement_date":"`...)
		b = date(b, clearing)
		b = append(b, '"')
	}
	return b
}

func renderAmounts(b []byte, p *payment, s *Step) []byte {
	amounts := [...]struct {
		bit   has
		name  string
		value float64
	}{
		{hasAmount, `,"amount_minor":`, s.amount},
		{hasGross, `,"gross_minor":`, s.gross},
		{hasNet, `,"net_minor":`, s.net},
		{hasFee, `,"fee_minor":`, s.fee},
		{hasApproved, `,"approved_minor":`, s.approved},
		{hasReplacement, `,"replacement_minor":`, s.replacement},
	}
	found := false
	for i := range amounts {
		if s.has&amounts[i].bit != 0 {
			b = append(b, amounts[i].name...)
			b = strconv.AppendInt(b, p.minor(amounts[i].value), 10)
			found = true
		}
	}
	if found {
		b = append(text(b, `,"currency":"`, p.currency), '"')
	}
	return b
}

func renderRest(b []byte, p *payment, s *Step) []byte {
	texts := [...]struct{ name, value string }{
		{`,"mode":"`, s.mode},
		{`,"response_code":"`, s.code},
		{`,"status":"`, s.status},
		{`,"stage":"`, s.stage},
		{`,"hold_reason":"`, s.holdReason},
	}
	for i := range texts {
		if texts[i].value != "" {
			b = append(text(b, texts[i].name, texts[i].value), '"')
		}
	}
	if s.capture > 0 {
		b = append(b, `,"capture_id":"`...)
		b = append(p.captureID(b, s.capture), '"')
		if s.feed == FeedCapture && s.typ != "adjustment" {
			b = append(b, `,"sequence":`...)
			b = strconv.AppendInt(b, int64(s.capture), 10)
		}
	}
	if s.has&isIncremental != 0 {
		b = append(b, `,"incremental":true`...)
	}
	if s.has&isDelta != 0 {
		b = append(b, `,"delta":true`...)
	}
	if s.has&isFinal != 0 {
		b = append(b, `,"final":true`...)
	}
	if s.has&isRowless != 0 {
		b = append(b, `,"occurrence":`...)
		b = strconv.AppendInt(b, int64(s.occurrence), 10)
	}
	return b
}

// instant is RFC 3339 in the acquirer's habit: every second one writes UTC.
func (p *payment) instant(b []byte, ms int64) []byte {
	if p.acqIndex%2 == 1 {
		return append(clock(b, ms), 'Z')
	}
	return append(clock(b, ms+zoneMs), "+08:00"...)
}

func clock(b []byte, ms int64) []byte {
	days := ms / dayMs
	b = date(b, calendar.Date(days))
	rest := ms - days*dayMs
	b = append(b, 'T')
	b = digits(b, rest/hourMs, 2)
	b = append(b, ':')
	b = digits(b, rest%hourMs/minuteMs, 2)
	b = append(b, ':')
	b = digits(b, rest%minuteMs/1000, 2)
	b = append(b, '.')
	return digits(b, rest%1000, 3)
}

func date(b []byte, d calendar.Date) []byte {
	year, month, dayOfMonth := time.Unix(int64(d)*86_400, 0).UTC().Date()
	b = digits(b, int64(year), 4)
	b = append(b, '-')
	b = digits(b, int64(month), 2)
	b = append(b, '-')
	return digits(b, int64(dayOfMonth), 2)
}

// digits appends n with leading zeros, never cut.
func digits(b []byte, n int64, width int) []byte {
	var buf [20]byte
	s := strconv.AppendInt(buf[:0], n, 10)
	for i := len(s); i < width; i++ {
		b = append(b, '0')
	}
	return append(b, s...)
}
