package join

import (
	"errors"

	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

// Meta is what a commit says of its partition beside the payments, for readers
// from outside.
type Meta struct {
	Position Position
	// Payments whose life has not ended.
	Payments int
	// ConfigNumber and Config are in force in this partition; Config is nil before
	// the first.
	ConfigNumber int64
	Config       *event.Config
	// Groups with their frontiers, in the order of Config; Sources as far as they
	// were read.
	Groups  []hop.Group
	Sources []hop.Position
	Counts  Counts
	// AlertsOnly: folded without payment snapshots.
	AlertsOnly bool
}

// ReadMeta decodes Changes.Meta, also that of an earlier release.
func ReadMeta(b []byte) (Meta, error) {
	m, err := decodeMeta(b)
	if err != nil {
		return Meta{}, err
	}
	if m.Format < 1 {
		return Meta{}, errors.New("decode state: no format")
	}
	return Meta{
		Position: m.Position, Payments: m.Payments, ConfigNumber: m.ConfigNumber,
		Groups: m.Groups, Sources: m.Sources, Counts: m.Counts, AlertsOnly: m.AlertsOnly, Config: m.config,
	}, nil
}

// Holder names the source that holds group g's frontier back, the one with the
// smallest mark, and that mark's T; hop.Never where it has not marked yet.
func (m *Meta) Holder(g int) (source string, tMs int64) {
	source = hop.NewReader(m.Sources, m.Groups).Holder(g)
	for _, p := range m.Sources {
		if p.Source == source {
			return source, p.T
		}
	}
	return source, hop.Never
}
