package profile

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/intake"
)

// kind is a constant record type, or a value that gives one.
func (b *fileBuilder) kind(e entry) *value {
	if e.value.Kind == yaml.ScalarNode && !strings.HasPrefix(e.value.Value, "=") {
		v := b.newValue(e)
		v.origin, v.constant = fromConstant, b.choice(e.value, e.path, intake.RecordTypes()...)
		return v
	}
	v := b.value(e, classText)
	b.checkWords(e, v, intake.RecordTypes())
	return v
}

// fill makes the rules of one event and holds them to what its kind needs.
func (b *fileBuilder) fill(r *recipe, node *yaml.Node, path string, fields map[string]entry) {
	for i, t := range targets {
		e, found := fields[t.name]
		if !found {
			continue
		}
		if e.value.Kind == yaml.ScalarNode && e.value.ShortTag() == "!!null" {
			continue // an event that does not have what the others have
		}
		v := b.value(e, t.class)
		if allowed := words[t.name]; allowed != nil {
			b.checkWords(e, v, allowed)
		}
		b.checkConstant(e, t, v)
		if t.name == "currency" {
			r.currency = v
		}
		r.rules = append(r.rules, rule{target: i, value: v})
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if _, known := targetByName[name]; !known {
			e := fields[name]
			b.mistake(e.at, e.path, "this field is not known; docs/profiles.md lists them%s", suggestField(name))
		}
	}
	b.m.recipes = append(b.m.recipes, r)
	b.checkNeeds(r, node, path, fields)
}

func suggestField(name string) string {
	if _, known := targetByName[strings.TrimSuffix(name, "_minor")]; known {
		return "; amounts have no _minor here, their unit is given"
	}
	if name == "type" {
		return "; the record's type is its kind"
	}
	return ""
}

// checkNeeds: what every record of a feed has must have a field, or each record
// would be refused.
func (b *fileBuilder) checkNeeds(r *recipe, node *yaml.Node, path string, fields map[string]entry) {
	has := func(name string) bool { _, found := fields[name]; return found }
	need := []string{"acquirer"}
	if r.kind.origin == fromConstant && r.kind.constant != "" {
		if feed, _ := intake.FeedOf(r.kind.constant); feed == intake.Settlement {
			need = append(need, "batch_id")
		} else {
			need = append(need, "event_id", "merchant_id", "business_time")
		}
	}
	for _, name := range need {
		if !has(name) {
			b.mistake(node, path+".fields."+name, "missing: every such record needs it")
		}
	}
	if !has("order_id") && (!has("rrn") || !has("terminal_id") || !has("payment_date")) {
		b.mistake(node, path+".fields.order_id", "missing: the payment is named by order_id, or by rrn, terminal_id and payment_date")
	}
	for _, rule := range r.rules {
		if targets[rule.target].class == classAmount && r.currency == nil {
			b.mistake(node, path+".fields.currency", "missing: an amount needs its currency")
			break
		}
	}
	if !has("arrival") && !has("business_time") {
		b.mistake(node, path+".fields.arrival", "missing: without a business time the arrival must be said")
	}
}

// checkWords holds what a profile writes itself to a closed set.
func (b *fileBuilder) checkWords(e entry, v *value, allowed []string) {
	var all []string
	if v.origin == fromConstant {
		all = append(all, v.constant)
	}
	if v.hasFallback {
		all = append(all, v.fallback)
	}
	if v.hasOtherwise {
		all = append(all, v.otherwise)
	}
	for _, word := range v.words {
		all = append(all, word)
	}
	for _, word := range all {
		if word != "" && !slices.Contains(allowed, word) {
			b.mistake(e.value, e.path, "%.40q is none of %q", word, allowed)
			return
		}
	}
}

// checkConstant: a constant that cannot be read is found now.
func (b *fileBuilder) checkConstant(e entry, t target, v *value) {
	if v.origin != fromConstant || v.constant == "" {
		return
	}
	switch t.class {
	case classCycle:
		if err := calendar.CheckCycle(v.constant); err != nil {
			b.mistake(e.value, e.path, "%v", err)
		}
	case classInstant, classArrival, classDate:
		if _, _, ok := v.instant(v.constant); !ok && len(v.layouts) > 0 {
			b.mistake(e.value, e.path, "the constant is not in the layout")
		}
	case classText, classAmount, classCount, classBool, classOutcome:
	}
}

func (b *fileBuilder) newValue(e entry) *value {
	v := &value{id: b.m.values, line: e.value.Line, layouts: b.layout, zone: b.m.zone, amounts: b.m.amounts, atMs: -1}
	b.m.values++
	return v
}

var sources = []string{"column", "path", "const", "expr", "parts", "content", "file_name"}

var modifiers = []string{"join", "map", "otherwise", "default", "optional", "layout", "zone", "at", "days", "unit", "decimal", "group", "sign"}

// value reads a column's name, an expression behind '=', or a mapping.
func (b *fileBuilder) value(e entry, c class) *value {
	v := b.newValue(e)
	if e.value.Kind != yaml.MappingNode {
		text := b.text(e.value, e.path)
		if expression, is := strings.CutPrefix(text, "="); is {
			v.origin, v.expression = fromExpression, b.expression(e, expression, reflect.String)
		} else {
			v.column = text
		}
		b.checkTime(e, v, c)
		return v
	}
	source := ""
	for _, e := range b.entries(e.value, e.path) {
		switch {
		case slices.Contains(sources, e.key):
			if source != "" {
				b.mistake(e.at, e.path, "the value already comes from %s", source)
				continue
			}
			source = e.key
			b.source(e, v)
		case slices.Contains(modifiers, e.key):
			b.modifier(e, v, c)
		default:
			b.unknown(e, append(slices.Clone(sources), modifiers...))
		}
	}
	if source == "" {
		if v.atMs < 0 && v.days == 0 {
			b.mistake(e.value, e.path, "want one of %q", sources)
		}
		v.origin, v.layouts = fromFileDate, []string{time.DateOnly}
	}
	if v.amounts.decimal == v.amounts.group {
		b.mistake(e.value, e.path, "decimal and group are the same character")
	}
	b.checkTime(e, v, c)
	return v
}

func (b *fileBuilder) source(e entry, v *value) {
	switch e.key {
	case "column", "path":
		v.origin, v.column = fromColumn, b.text(e.value, e.path)
	case "const":
		v.origin, v.constant = fromConstant, b.text(e.value, e.path)
	case "expr":
		v.origin, v.expression = fromExpression, b.expression(e, b.text(e.value, e.path), reflect.String)
	case "content":
		v.origin = fromContent
		if !b.flag(e.value, e.path) {
			b.mistake(e.value, e.path, "want true")
		}
	case "file_name":
		v.origin = fromFileName
		pattern, err := regexp.Compile(b.text(e.value, e.path))
		if err != nil {
			b.mistake(e.value, e.path, "no regular expression")
			pattern = regexp.MustCompile("")
		}
		v.pattern = pattern
	case "parts":
		v.origin = fromParts
		b.items(e.value, e.path, func(node *yaml.Node, path string) {
			part := b.value(entry{key: "parts", at: node, value: node, path: path}, classText)
			v.parts = append(v.parts, part)
		})
	}
}

func (b *fileBuilder) modifier(e entry, v *value, c class) {
	switch e.key {
	case "join":
		if e.value.Kind == yaml.ScalarNode {
			v.join = e.value.Value // empty is a way to join, too
		} else {
			b.mistake(e.value, e.path, "want a text")
		}
	case "map":
		v.words = map[string]string{}
		for _, word := range b.entries(e.value, e.path) {
			v.words[word.key] = b.text(word.value, word.path)
		}
	case "otherwise":
		v.otherwise, v.hasOtherwise = b.text(e.value, e.path), true
	case "default":
		v.fallback, v.hasFallback = b.text(e.value, e.path), true
	case "optional":
		v.optional = b.flag(e.value, e.path)
	case "layout", "zone", "at", "days":
		if c != classDate && c != classInstant && c != classArrival {
			b.mistake(e.at, e.path, "only a date or a time has it")
			return
		}
		b.timeModifier(e, v)
	default:
		if c != classAmount {
			b.mistake(e.at, e.path, "only an amount has it")
			return
		}
		b.amountKey(e, &v.amounts)
	}
}

func (b *fileBuilder) timeModifier(e entry, v *value) {
	switch e.key {
	case "layout":
		v.layouts = b.layouts(e)
	case "zone":
		if zone := b.location(e); zone != nil {
			v.zone = zone
		}
	case "at":
		text := b.text(e.value, e.path)
		for _, layout := range []string{"15:04", "15:04:05"} {
			if clock, err := time.Parse(layout, text); err == nil {
				v.atMs = int64(clock.Hour()*3600+clock.Minute()*60+clock.Second()) * 1000
				return
			}
		}
		b.mistake(e.value, e.path, "want a time of day such as \"09:30\"")
	case "days":
		v.days = b.number(e.value, e.path, -366, 366)
	}
}

// checkTime: a time needs a layout, and a zone where the layout has none.
func (b *fileBuilder) checkTime(e entry, v *value, c class) {
	if c != classDate && c != classInstant && c != classArrival {
		return
	}
	if len(v.layouts) == 0 {
		b.mistake(e.value, e.path, "missing: the layout of the time, here or for the whole file")
	}
	if v.zone != nil {
		return
	}
	v.zone = time.UTC
	needs := v.atMs >= 0
	for _, layout := range v.layouts {
		switch {
		case layout == layoutRFC3339, layout == layoutUnix, layout == layoutUnixMs, layoutHasZone(layout):
			needs = needs || c == classDate // whose midnight it is, the text does not say
		case c == classDate && !strings.Contains(layout, ":") && !strings.Contains(layout, "15"):
			// A date alone is the same in every zone.
		default:
			needs = true
		}
	}
	if needs {
		b.mistake(e.value, e.path, "missing: the zone of the time, here or for the whole file, such as Asia/Shanghai")
	}
}
