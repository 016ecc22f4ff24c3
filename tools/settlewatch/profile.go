package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"

	"settlewatch/pipelines/profile"
	"settlewatch/schemas/event"
	"settlewatch/schemas/money"
)

type profileFlags struct {
	sample   string
	name     string
	records  int
	mistakes int
	json     bool
}

func profileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "Work on profiles, which say how files become events",
		Args:  arguments(cobra.NoArgs, "there is only `profile check`"),
		// Without a function of its own a wrong subcommand would show the help and be no error.
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(profileCheckCommand())
	return cmd
}

func profileCheckCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{
		Use:   "check P.yaml [--sample FILE]",
		Short: "Check a profile, and show what it makes of a file",
		Long: `Reads a profile and reports every mistake in it with its line. With --sample it also
reads a file by it: shows the first records as events, field by field, then every
record that cannot be read with its line and column, and the columns that the profile
names but the file has no value for. Nothing is sent anywhere.

Exit status: 0 the profile is right and the whole file can be read by it, 1 something
is wrong with one of them, 2 it could not run.`,
		Example: `  settlewatch profile check psp.yaml
  settlewatch profile check psp.yaml --sample settle_20250924.csv
  settlewatch profile check psp.yaml --sample settle_20250924.csv --records 1 --json
  head -100 big.csv | settlewatch profile check psp.yaml --sample - --name settle_20250924.csv`,
		Args: arguments(cobra.ExactArgs(1), "name the profile to check"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runProfileCheck(f, args[0], cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.sample, "sample", "", "a file to read by the profile; - is standard input")
	flags.StringVar(&f.name, "name", "", "the name by which the profile knows the sample (default: its own)")
	flags.IntVar(&f.records, "records", 3, "records to show")
	flags.IntVar(&f.mistakes, "mistakes", 20, "refused records to show; all are counted")
	flags.BoolVar(&f.json, "json", false, "print one JSON object: the counts, the records and the mistakes")
	return cmd
}

func runProfileCheck(f profileFlags, path string, in io.Reader, out, messages io.Writer) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read profile: %w", err)
	}
	p, err := profile.Parse(text)
	if err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			fmt.Fprintf(messages, "%s: %s\n", path, line)
		}
		return errFindings
	}
	if f.sample == "" {
		fmt.Fprintf(messages, "%s: profile %s is right; --sample FILE shows what it makes of a file\n", path, p)
		return nil
	}
	name := f.sample
	if f.name != "" {
		name = f.name
	} else if f.sample == "-" {
		return errors.New("profile check: standard input has no name; say with --name which file it is")
	}
	if f.sample != "-" {
		file, err := os.Open(f.sample)
		if err != nil {
			return fmt.Errorf("read sample: %w", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.IsDir() {
			return fmt.Errorf("profile check: %s is a directory; name one file in it", f.sample)
		}
		in = file
	}
	checked := p.Check(name, in, f.records, f.mistakes)
	if f.json {
		err = writeCheckedJSON(out, checked)
	} else {
		err = writeChecked(out, messages, path, checked)
	}
	if err == nil && !checked.Clean() {
		return errFindings
	}
	return err
}

func writeChecked(out, messages io.Writer, path string, c *profile.Checked) error {
	var b strings.Builder
	for _, r := range c.First {
		for _, e := range r.Events {
			fmt.Fprintf(&b, "%s:%d  %s, arrived %s\n", r.File, r.Line, r.Feed, instant(r.ArrivalMs))
			for _, field := range eventFields(e) {
				fmt.Fprintf(&b, "  %-28s %s\n", field.Name, field.Value)
			}
			b.WriteByte('\n')
		}
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	for _, r := range c.Mistakes {
		fmt.Fprintf(messages, "%s:%d: %v\n", r.File, r.Line, r.Err)
	}
	if more := c.Refused - len(c.Mistakes); more > 0 {
		fmt.Fprintf(messages, "… and %d more; --mistakes shows them\n", more)
	}
	for _, u := range c.Unseen {
		fmt.Fprintf(messages, "%s: line %d: %q has no value in any record; misspelt? (optional: true, if that is right)\n", path, u.Line, u.Name)
	}
	if c.File != nil {
		fmt.Fprintln(messages, c.File)
	}
	fmt.Fprintf(messages, "%d records: %d events, %d refused, %d left out by the filter\n", c.Rows, c.Events, c.Refused, c.LeftOut)
	return nil
}

// fieldOfEvent is one field of an event as people read it.
type fieldOfEvent struct{ Name, Value string }

// eventFields are an event's fields in the order of the schema, those of inner
// messages by their path.
func eventFields(e *event.Event) []fieldOfEvent {
	var fields []fieldOfEvent
	currency := e.GetAmounts().GetCurrency()
	appendFields(&fields, "", currency, e.ProtoReflect())
	return fields
}

func appendFields(fields *[]fieldOfEvent, prefix, currency string, m protoreflect.Message) {
	all := m.Descriptor().Fields()
	for i := range all.Len() {
		field := all.Get(i)
		if !m.Has(field) {
			continue
		}
		name, value := prefix+string(field.Name()), m.Get(field)
		switch {
		case field.IsList():
			for j := range value.List().Len() {
				appendValue(fields, fmt.Sprintf("%s[%d]", name, j), currency, field, value.List().Get(j))
			}
		default:
			appendValue(fields, name, currency, field, value)
		}
	}
}

func appendValue(fields *[]fieldOfEvent, name, currency string, field protoreflect.FieldDescriptor, value protoreflect.Value) {
	text := value.String()
	switch field.Kind() {
	case protoreflect.MessageKind:
		appendFields(fields, name+".", currency, value.Message())
		return
	case protoreflect.BytesKind:
		text = hex.EncodeToString(value.Bytes())
	case protoreflect.EnumKind:
		text = enumText(field.Enum(), value.Enum())
	case protoreflect.Int64Kind:
		switch {
		case strings.HasSuffix(name, "_ms"):
			text = instant(value.Int())
		case strings.HasSuffix(name, "_minor"):
			if amount, err := money.Format(value.Int(), currency); err == nil {
				text = amount + " " + currency
			}
		}
	case protoreflect.Int32Kind:
		if strings.HasSuffix(name, "_date") {
			text = time.Unix(value.Int()*24*60*60, 0).UTC().Format(time.DateOnly)
		}
	default:
	}
	*fields = append(*fields, fieldOfEvent{name, text})
}

// enumText is the value's name without the enum's: KIND_SETTLEMENT is settlement.
func enumText(enum protoreflect.EnumDescriptor, number protoreflect.EnumNumber) string {
	value := enum.Values().ByNumber(number)
	zero := enum.Values().ByNumber(0)
	if value == nil || zero == nil {
		return fmt.Sprint(number)
	}
	return strings.ToLower(strings.TrimPrefix(string(value.Name()), strings.TrimSuffix(string(zero.Name()), "UNKNOWN")))
}

func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }

// checkedJSON is the object that --json prints.
type checkedJSON struct {
	Records  int              `json:"records"`
	Events   int              `json:"events"`
	Refused  int              `json:"refused"`
	LeftOut  int              `json:"left_out"`
	First    []firstJSON      `json:"first"`
	Mistakes []mistakeJSON    `json:"mistakes"`
	Unseen   []profile.Unseen `json:"unseen"`
	File     string           `json:"file_error,omitempty"`
}

type firstJSON struct {
	File    string            `json:"file"`
	Line    int               `json:"line"`
	Feed    string            `json:"feed"`
	Arrival string            `json:"arrival"`
	Fields  map[string]string `json:"fields"`
}

type mistakeJSON struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Path   string `json:"path"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	Masked string `json:"masked"`
}

func writeCheckedJSON(out io.Writer, c *profile.Checked) error {
	o := checkedJSON{
		Records: c.Rows, Events: c.Events, Refused: c.Refused, LeftOut: c.LeftOut,
		First: []firstJSON{}, Mistakes: []mistakeJSON{}, Unseen: append([]profile.Unseen{}, c.Unseen...),
	}
	for _, r := range c.First {
		for _, e := range r.Events {
			first := firstJSON{File: r.File, Line: r.Line, Feed: r.Feed.String(), Arrival: instant(r.ArrivalMs), Fields: map[string]string{}}
			for _, field := range eventFields(e) {
				first.Fields[field.Name] = field.Value
			}
			o.First = append(o.First, first)
		}
	}
	for _, r := range c.Mistakes {
		o.Mistakes = append(o.Mistakes, mistakeJSON{r.File, r.Line, r.Err.Path, string(r.Err.Reason), r.Err.Detail, string(r.Raw)})
	}
	if c.File != nil {
		o.File = c.File.Error()
	}
	text, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}
