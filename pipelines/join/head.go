package join

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

// meta is everything but the payments, as JSON: an operator can read it in Redis.
type meta struct {
	Format   int      `json:"format"`
	Position Position `json:"position"`
	Buckets  int      `json:"buckets"`
	Tally
	ConfigNumber int64 `json:"config_number"`
	// PackedConfig is the settlewatch.event.v1.Config, compressed (RFC 1951): every commit
	// stores it, and where groups have hundreds of sources it is most of a small one.
	PackedConfig []byte `json:"packed_config,omitempty"`
	// Groups are without their sources, which CONFIG names; until form 4 with them.
	Groups  []hop.Group    `json:"groups"`
	Sources []hop.Position `json:"sources"`
	Counts  Counts         `json:"counts"`
	// Epoch counts the CONFIGs; JudgeFrom is each group's frontier at the last one.
	Epoch     uint64  `json:"epoch"`
	JudgeFrom []int64 `json:"judge_from"`
	// AlertsOnly: the state is what it is without payment snapshots.
	AlertsOnly bool `json:"alerts_only,omitempty"`

	config *event.Config // that of PackedConfig, nil without
}

// StateFormat counts the versions of the stored form. A state of another version is not
// read: one of a version before is rebuilt from the log.
const StateFormat = 6

// ErrNewerState is a stored state that a newer binary wrote.
var ErrNewerState = errors.New("stored state is of a newer version")

// ErrOlderState is a stored state that an older binary wrote.
var ErrOlderState = errors.New("stored state is of an older version: rebuild it from the log")

// readable tells whether this binary reads the form, which decodeMeta has seen is not newer.
func (m *meta) readable() error {
	switch {
	case m.Format < StateFormat:
		return fmt.Errorf("format %d, this binary has %d: %w", m.Format, StateFormat, ErrOlderState)
	case m.Buckets != bucketCount:
		return fmt.Errorf("%d buckets, this binary has %d: %w", m.Buckets, bucketCount, ErrNewerState)
	}
	return nil
}

// encodeMeta is made at every commit: what only a CONFIG changes is packed once.
func (s *State) encodeMeta(position Position) ([]byte, error) {
	if s.config != s.packedOf {
		var err error
		if s.packedConfig, err = packConfig(s.config); err != nil {
			return nil, err
		}
		s.packedOf = s.config
	}
	m := meta{
		Format: StateFormat, Position: position, Buckets: bucketCount,
		Tally: s.payments.tally(), ConfigNumber: s.configNumber, PackedConfig: s.packedConfig,
		Groups: slices.Clone(s.hop.Groups()), Sources: s.hop.Positions(), Counts: s.counts,
		Epoch: s.epoch, JudgeFrom: s.judgeFrom, AlertsOnly: s.alertsOnly,
	}
	for g := range m.Groups {
		m.Groups[g].Sources = nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return b, nil
}

func packConfig(c *event.Config) ([]byte, error) {
	plain, err := c.MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(plain)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("compress configuration: %w", err)
	}
	return packed.Bytes(), nil
}

// decodeMeta reads what encodeMeta makes, and of what older versions made all but CONFIG. Whether the payments
// beside it can be read is for readable.
func decodeMeta(b []byte) (m meta, err error) {
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("decode state: %w", err)
	}
	if m.Format > StateFormat {
		return m, fmt.Errorf("format %d, this binary has %d: %w", m.Format, StateFormat, ErrNewerState)
	}
	if m.PackedConfig == nil {
		return m, nil
	}
	plain, err := io.ReadAll(flate.NewReader(bytes.NewReader(m.PackedConfig)))
	if err != nil {
		return m, fmt.Errorf("decompress stored configuration: %w", err)
	}
	m.config = new(event.Config)
	if err := m.config.UnmarshalVT(plain); err != nil {
		return m, fmt.Errorf("decode stored configuration: %w", err)
	}
	for i, g := range m.config.Groups[:min(len(m.Groups), len(m.config.Groups))] {
		m.Groups[i].Sources = sourcesOf(g)
	}
	return m, nil
}

func sourcesOf(g *event.Group) (names []string) {
	for _, source := range g.Sources {
		names = append(names, source.Name)
	}
	return names
}

// decodeHead begins a state with what meta says, as yet without payments or CONFIG.
func decodeHead(metaBytes []byte) (s *State, m meta, err error) {
	if m, err = decodeMeta(metaBytes); err != nil {
		return nil, m, err
	}
	if err := m.readable(); err != nil {
		return nil, m, err
	}
	s = New()
	s.hop = hop.NewReader(m.Sources, m.Groups)
	s.configNumber, s.counts, s.epoch, s.alertsOnly = m.ConfigNumber, m.Counts, m.Epoch, m.AlertsOnly
	return s, m, nil
}
