// Package health says how far each service of an installation is and what holds
// it up.
//
// In go connections to Kafka, Redis and ClickHouse, any of which may be missing;
// out comes a Report. It reads and changes nothing. What cannot be read is a
// problem in the report and no error, so that the rest is still seen.
package health

import (
	"path"
	"slices"
	"time"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
)

// Report of an installation.
type Report struct {
	At         time.Time          `json:"at"`
	Servers    map[string]*Server `json:"servers"`
	Config     *Config            `json:"configuration,omitempty"`
	Services   []Service          `json:"services"`
	Frontiers  []Frontier         `json:"frontiers"`
	Payments   *Payments          `json:"payments,omitempty"`
	LastAlert  *LastAlert         `json:"last_alert,omitempty"`
	ClickHouse *Tables            `json:"clickhouse,omitempty"`
	Problems   []string           `json:"problems"`
}

// The servers of an installation, as the report names them.
const (
	Kafka      = "kafka"
	Redis      = "redis"
	ClickHouse = "clickhouse"
)

// ServerNames in the order of the flow.
var ServerNames = []string{Kafka, Redis, ClickHouse}

// Server is reachable, or says why not.
type Server struct {
	Reachable bool   `json:"reachable"`
	Error     string `json:"error,omitempty"`
}

// Config is the latest configuration, and where it is not yet in force.
type Config struct {
	Number int64  `json:"number"`
	Rules  string `json:"rules"`
	// Behind are the log partitions that are still judged by an earlier one.
	Behind []int32 `json:"behind,omitempty"`
}

// Service is one consumer group.
type Service struct {
	Name    string `json:"name"`
	Group   string `json:"group"`
	Members int    `json:"members"`
	Legs    []Leg  `json:"topics"`
}

// Leg is a group's way through one topic.
type Leg struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Owned      int    `json:"partitions_owned"`
	Lag        int64  `json:"lag"`
	LagMax     int64  `json:"lag_max"` // of one partition
}

// Frontier of one group of payments: the least over the log's partitions.
type Frontier struct {
	Group string `json:"group"`
	// Time is nil before the first mark of every source.
	Time *time.Time `json:"time,omitempty"`
	// AgeSeconds is the time since then; for live sources only, as that of played
	// ones says nothing about now.
	AgeSeconds *float64 `json:"age_seconds,omitempty"`
	// HeldBy is the source whose mark is the least, in which partition of the log.
	HeldBy    string `json:"held_by"`
	Partition int32  `json:"partition"`
	Played    bool   `json:"played"`
}

// Payments are totals of the joiner's state.
type Payments struct {
	// Watched are those whose life has not ended.
	Watched int    `json:"watched"`
	Events  uint64 `json:"events"`
	Repeats uint64 `json:"repeats"`
	Alerts  uint64 `json:"alert_revisions"`
}

// LastAlert is the alert revision with the latest moment.
type LastAlert struct {
	Kind         alert.Kind   `json:"kind"`
	Status       alert.Status `json:"status"`
	Revision     uint32       `json:"revision"`
	MomentJudged string       `json:"moment_judged"`
	PaymentKey   string       `json:"payment_key"`
	AmountMinor  int64        `json:"amount_minor"`
	Currency     string       `json:"currency"`
}

// Tables are counts in ClickHouse.
type Tables struct {
	Events       uint64            `json:"events"`
	Payments     uint64            `json:"payments"`
	OpenPayments uint64            `json:"open_payments"`
	OpenAlerts   map[string]uint64 `json:"open_alerts"`
}

// part is a service with what it reads.
type part struct {
	name, group string
	topics      []string
}

// parts in the order of the flow. All ingest services share the group that carries
// the configuration. Each raw topic has a group for every profile by which the
// configuration expects it to be read.
func parts(config *event.Config) []part {
	var out []part
	for _, raw := range []struct {
		feed  intake.Feed
		topic topic.Topic
	}{
		{intake.Authorization, topic.RawAuthorization}, {intake.Capture, topic.RawCapture}, {intake.Settlement, topic.RawSettlement},
	} {
		for _, by := range profilesOf(config, raw.topic.Name) {
			out = append(out, part{raw.feed.String(), boot.GroupIngest(raw.feed, by), []string{raw.topic.Name}})
		}
	}
	out = append(out,
		part{"configuration", boot.GroupConfig, []string{topic.Config.Name}},
		part{"joiner", boot.GroupJoiner, []string{topic.PaymentLog.Name}},
	)
	stored := []string{topic.PaymentLog.Name, topic.Payments.Name}
	for _, k := range alert.Kinds {
		stored = append(stored, k.Topic().Name)
	}
	return append(out, part{"warehouse", boot.GroupWarehouse, stored})
}

// profilesOf a raw topic, name@version, as the configuration expects them; without
// any, the documented one.
func profilesOf(config *event.Config, raw string) []string {
	var by []string
	for _, g := range config.GetGroups() {
		for _, s := range g.Sources {
			name, err := event.ParseSource(s.Name)
			if profile := path.Base(s.Name); err == nil && name.Topic == raw && !slices.Contains(by, profile) {
				by = append(by, profile)
			}
		}
	}
	if by == nil {
		return []string{boot.Documented}
	}
	return by
}
