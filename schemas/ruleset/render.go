package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"settlewatch/schemas/event"
)

// Render writes a CONFIG as Parse reads it, always in the same bytes. A CONFIG
// that Parse would refuse is an error, so that what was written can be read.
func Render(config *event.Config) ([]byte, error) {
	if err := Validate(config); err != nil {
		return nil, fmt.Errorf("render configuration: %w", err)
	}
	w := &writer{}
	root := w.config(config)
	if len(w.mistakes) > 0 {
		return nil, fmt.Errorf("render configuration: %w", join(w.mistakes))
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("render configuration: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return nil, fmt.Errorf("render configuration: %w", err)
	}
	// YAML cannot carry every string (bytes that are no text, for one). Reading the
	// text back is the whole proof that it says what CONFIG says.
	again, err := Parse(out.Bytes())
	if err != nil {
		return nil, fmt.Errorf("read back rendered configuration: %w", err)
	}
	if !proto.Equal(again, config) {
		return nil, errors.New("render configuration: a name in it cannot be written as text")
	}
	return out.Bytes(), nil
}

// writer builds the nodes of the text and collects what no text stands for.
type writer struct{ checker }

// put adds a key to a mapping.
func put(mapping *yaml.Node, key string, value *yaml.Node) {
	mapping.Content = append(mapping.Content, textNode(key), value)
}

// textNode is a string; the encoder quotes it where YAML would read a number, a
// time or nothing.
func textNode(value string) *yaml.Node {
	node := &yaml.Node{}
	node.SetString(value)
	return node
}

func numberNode[T int32 | int64 | uint32](value T) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(int64(value), 10)}
}

func (w *writer) config(config *event.Config) *yaml.Node {
	root := &yaml.Node{Kind: yaml.MappingNode}
	put(root, "rules", textNode(config.GetRules()))
	put(root, "join_version", numberNode(config.GetJoinVersion()))
	put(root, "alert_version", numberNode(config.GetAlertVersion()))
	put(root, "tzdata", textNode(config.GetTzdataVersion()))
	calendars := &yaml.Node{Kind: yaml.MappingNode}
	for _, calendar := range config.GetCalendars() {
		put(calendars, calendar.GetName(), textNode(calendar.GetVersion()))
	}
	put(root, "calendars", calendars)
	groups := &yaml.Node{Kind: yaml.SequenceNode}
	for i, group := range config.GetGroups() {
		groups.Content = append(groups.Content, w.group(fmt.Sprintf("groups[%d]", i), group))
	}
	put(root, "groups", groups)
	if config.GetLogPartitions() != 0 {
		put(root, "log_partitions", numberNode(config.GetLogPartitions()))
	}
	return root
}

func (w *writer) group(path string, group *event.Group) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	put(node, "name", textNode(group.GetName()))
	if len(group.GetAcquirers()) > 0 {
		acquirers := &yaml.Node{Kind: yaml.SequenceNode}
		for _, acquirer := range group.GetAcquirers() {
			acquirers.Content = append(acquirers.Content, textNode(acquirer))
		}
		put(node, "acquirers", acquirers)
	}
	sources := &yaml.Node{Kind: yaml.SequenceNode}
	for i, source := range group.GetSources() {
		one := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		put(one, "name", textNode(source.GetName()))
		put(one, "clock", form(w, fmt.Sprintf("%s.sources[%d].clock", path, i), clocks.format, source.GetClock()))
		if source.FromOffset != nil {
			put(one, "from_offset", numberForm(w, fmt.Sprintf("%s.sources[%d].from_offset", path, i), source.GetFromOffset()))
		}
		if source.UntilOffset != nil {
			put(one, "until_offset", numberForm(w, fmt.Sprintf("%s.sources[%d].until_offset", path, i), source.GetUntilOffset()))
		}
		sources.Content = append(sources.Content, one)
	}
	put(node, "sources", sources)
	put(node, "terms", w.terms(path+".terms", group.GetTerms()))
	return node
}

func (w *writer) terms(path string, terms *event.Terms) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	put(node, "cycle", textNode(terms.GetCycle()))
	put(node, "calendar", textNode(terms.GetCalendar()))
	put(node, "zone", textNode(terms.GetZone()))
	put(node, "counting", form(w, path+".counting", countings.format, terms.GetCounting()))
	put(node, "cutoff", form(w, path+".cutoff", formatCutoff, terms.CutoffMs))
	if len(terms.GetChannelCutoffs()) > 0 {
		cutoffs := &yaml.Node{Kind: yaml.MappingNode}
		for _, cutoff := range terms.GetChannelCutoffs() {
			channel := cutoff.GetChannel()
			put(cutoffs, channel, form(w, path+".channel_cutoffs."+channel, formatCutoff, cutoff.CutoffMs))
		}
		put(node, "channel_cutoffs", cutoffs)
	}
	put(node, "publish", form(w, path+".publish", formatClock, terms.GetPublishMs()))
	put(node, "publish_days", numberForm(w, path+".publish_days", terms.GetPublishDays()))
	put(node, "grace", form(w, path+".grace", formatDuration, terms.GetGraceMs()))
	put(node, "tolerance_minor", numberForm(w, path+".tolerance_minor", terms.GetToleranceMinor()))
	put(node, "refunds", form(w, path+".refunds", refundModes.format, terms.GetRefunds()))
	put(node, "stage", form(w, path+".stage", stages.format, event.Stage(terms.GetStage())))
	put(node, "fee", form(w, path+".fee", formatPercent, terms.GetFeeBps()))
	put(node, "max_fee", form(w, path+".max_fee", formatPercent, terms.GetMaxFeeBps()))
	put(node, "allowance", form(w, path+".allowance", formatPercent, terms.GetAllowanceBps()))
	put(node, "life", form(w, path+".life", formatDays, terms.GetLifeDays()))
	put(node, "hold_cap", form(w, path+".hold_cap", formatDays, terms.GetHoldCapDays()))
	if terms.StartDate != nil {
		put(node, "start", form(w, path+".start", formatDate, terms.GetStartDate()))
	}
	return node
}

// form writes a value in its form.
func form[T any](w *writer, path string, format func(T) (string, error), value T) *yaml.Node {
	text, err := format(value)
	if err != nil {
		w.mistake(path, "%v", err)
	}
	return textNode(text)
}

// numberForm writes a number that has no unit in its text.
func numberForm[T int32 | int64](w *writer, path string, value T) *yaml.Node {
	if value < 0 {
		w.mistake(path, "%d is below zero", value)
	}
	return numberNode(value)
}
