package console

import (
	"strings"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
)

// liveJSON is what --json shows of Redis; amounts are minor units, instants Unix
// milliseconds, absent where there is none.
type liveJSON struct {
	Held         bool             `json:"held"` // false: never seen, or its life has ended
	Status       string           `json:"status,omitempty"`
	Life         string           `json:"life,omitempty"`
	Version      uint64           `json:"version"`
	JudgedMs     *int64           `json:"judged_ms,omitempty"`
	NextMs       *int64           `json:"next_ms,omitempty"`
	Judged       int              `json:"judged_facts"`
	Pending      int              `json:"pending_facts"`
	Repeats      uint32           `json:"repeats"`
	Conflicts    uint32           `json:"conflicts"`
	Captures     []obligationJSON `json:"captures,omitempty"`
	Alerts       []publishedJSON  `json:"alerts,omitempty"`
	LogOffset    int64            `json:"log_offset"`
	FrontierMs   *int64           `json:"frontier_ms,omitempty"`
	Holder       string           `json:"frontier_held_by,omitempty"`
	ConfigNumber int64            `json:"config"`
	Rules        string           `json:"rules,omitempty"`
}

type obligationJSON struct {
	Capture       string     `json:"capture"`
	OwedMinor     int64      `json:"owed_minor"`
	SettledMinor  int64      `json:"settled_minor"`
	RefundedMinor int64      `json:"refunded_minor"`
	OpenMinor     int64      `json:"open_minor"`
	Due           *alert.Due `json:"due,omitempty"`
	HeldUntilMs   *int64     `json:"held_until_ms,omitempty"`
}

type publishedJSON struct {
	ID          string       `json:"id"`
	Kind        alert.Kind   `json:"kind"`
	Capture     string       `json:"capture,omitempty"`
	Revision    uint32       `json:"revision"`
	Status      alert.Status `json:"status"`
	AmountMinor int64        `json:"amount_minor"`
	Currency    string       `json:"currency"`
}

// recordedJSON is what --json shows of ClickHouse.
type recordedJSON struct {
	Events []recordedEventJSON `json:"events"`
	Lives  []RecordedLife      `json:"lives"`
	Alerts []*alert.Alert      `json:"alerts"` // without their evidence
}

type recordedEventJSON struct {
	*RecordedEvent
	InRedis string `json:"in_redis,omitempty"`
}

func moment(ms int64) *int64 {
	if ms == join.Never {
		return nil
	}
	return &ms
}

func newLiveJSON(l *Live) *liveJSON {
	v := &liveJSON{
		LogOffset: l.Place.LogOffset, FrontierMs: moment(l.Place.FrontierMs), Holder: l.Place.Holder,
		ConfigNumber: l.Place.Config, Rules: l.Place.Rules,
	}
	p := l.Payment
	if p == nil {
		return v
	}
	v.Held, v.Status = true, strings.ToLower(strings.TrimPrefix(p.Status.String(), "STATUS_"))
	v.Version, v.JudgedMs, v.NextMs = p.Version, moment(p.JudgedMs), moment(p.NextMs)
	v.Judged, v.Pending, v.Repeats, v.Conflicts = len(p.Judged), len(p.Pending), p.Repeats, p.Conflicts
	if !p.Life.IsZero() {
		v.Life = p.Life.String()
	}
	for _, o := range p.Captures {
		v.Captures = append(v.Captures, obligationJSON{
			o.Capture, o.OwedMinor, o.SettledMinor, o.RefundedMinor, o.OpenMinor, o.Due, moment(o.HeldUntilMs),
		})
	}
	for _, a := range p.Alerts {
		v.Alerts = append(v.Alerts, publishedJSON(a))
	}
	return v
}

func newRecordedJSON(live *Live, r *Recorded) *recordedJSON {
	v := &recordedJSON{Events: []recordedEventJSON{}, Lives: r.Lives, Alerts: r.Alerts}
	for i, standing := range standings(live, r) {
		v.Events = append(v.Events, recordedEventJSON{&r.Events[i], standing})
	}
	return v
}
