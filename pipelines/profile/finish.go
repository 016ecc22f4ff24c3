package profile

import (
	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/intake"
	"settlewatch/schemas/event"
)

// finish adds what the documented record cannot say.
func (k *maker) finish(recipe *recipe, e *event.Event, record *Record) *intake.DecodeError {
	if e.Provenance == nil {
		e.Provenance = &event.Provenance{}
	}
	e.Provenance.Profile, e.Provenance.ProfileVersion = k.profile, k.version
	arrived := false
	for _, rule := range recipe.extras {
		t := &targets[rule.target]
		text, reason, detail := k.text(rule.value)
		if reason == "" && text != "" {
			reason, detail = k.extra(t, rule.value, text, e, record)
			arrived = arrived || t.class == classArrival
		}
		if reason != "" {
			return refuse(rule.value.name(t.name), reason, detail)
		}
	}
	if arrived || k.kafka {
		return nil
	}
	if e.Time == nil || e.Time.BusinessMs == nil {
		return refuse("arrival", intake.ReasonMissingField, "the record has neither an arrival nor a business time")
	}
	record.ArrivalMs = e.Time.GetBusinessMs()
	return nil
}

func (k *maker) extra(t *target, v *value, text string, e *event.Event, record *Record) (intake.Reason, string) {
	switch t.class {
	case classArrival:
		if k.kafka {
			return "", ""
		}
		if ms, ok := v.utc(text); ok {
			record.ArrivalMs = ms
			return "", ""
		}
		moment, _, ok := v.instant(text)
		if !ok {
			return intake.ReasonBadDate, "not in the profile's layout, or not in 2000 to 2099"
		}
		record.ArrivalMs = moment.UnixMilli()
	case classInstant: // business_time
		if _, fromProfile, ok := v.instant(text); ok && fromProfile && e.Time != nil {
			e.Time.ZoneFrom = "profile"
		}
	case classCycle:
		if calendar.CheckCycle(text) != nil {
			return intake.ReasonUnknownValue, "want a cycle such as T+1 or D+1"
		}
		if e.Due == nil {
			e.Due = &event.Due{}
		}
		e.Due.Cycle = text
	case classOutcome:
		outcome, known := outcomes[text]
		if !known {
			return intake.ReasonUnknownValue, "none of the outcomes"
		}
		e.Outcome = outcome
	default: // the documented record's own, written before
	}
	return "", ""
}

var outcomes = map[string]event.Outcome{
	"unknown":   event.Outcome_OUTCOME_UNKNOWN,
	"requested": event.Outcome_OUTCOME_REQUESTED,
	"accepted":  event.Outcome_OUTCOME_ACCEPTED,
	"failed":    event.Outcome_OUTCOME_FAILED,
	"rejected":  event.Outcome_OUTCOME_REJECTED,
}
