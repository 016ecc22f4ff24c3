package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
	"settlewatch/schemas/deadletter"
	"settlewatch/services/boot"
	"settlewatch/tools/console"
)

type deadListFlags struct {
	reason, field, topic string
	each, json           bool
}

func (f *deadListFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "", "only this reason")
	flags.StringVar(&f.field, "field", "", "only this field")
	flags.StringVar(&f.topic, "topic", "", "only this raw topic")
	flags.BoolVar(&f.each, "each", false, "every dead letter with its place, instead of counts")
	flags.BoolVar(&f.json, "json", false, "one JSON object a line: a count, or with --each a letter as it was published")
	boot.AddFlags(flags, boot.NeedKafka)
}

func deadCommand() *cobra.Command {
	var f deadListFlags
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "Look at records that could not be read, and retry them",
		Long: `A raw record that an ingest service cannot read becomes a dead letter: where the
record lies, which field was wrong, and the record with card numbers masked. The
raw record itself stays in its raw topic.

Without a subcommand it lists. Exit status: 0 done; 1 there is no such dead letter,
or the record still cannot be read; 2 could not run.`,
		Example: `  settlewatch dead
  settlewatch dead list --each --reason missing
  settlewatch dead show raw.capture.v1/0/41
  settlewatch dead retry raw.capture.v1/0/41 --set currency=CNY --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return listDead(cmd, f) },
	}
	f.add(cmd)
	cmd.AddCommand(deadListCommand(), deadShowCommand(), deadRetryCommand())
	return cmd
}

func deadListCommand() *cobra.Command {
	var f deadListFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Count the dead letters by reason and field",
		Long: `Counts the dead letters by raw topic, reason and field; with --each it shows every one
with its place, which is what ` + "`dead show` and `dead retry`" + ` take.

Exit status: 0 done, whether there are dead letters or not; 2 could not run.`,
		Example: `  settlewatch dead list
  settlewatch dead list --each --field amount_minor
  settlewatch dead list --json | jq -r '[.count, .reason, .field] | @tsv'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return listDead(cmd, f) },
	}
	f.add(cmd)
	return cmd
}

func deadShowCommand() *cobra.Command {
	var asJSON, payload bool
	cmd := &cobra.Command{
		Use:   "show PLACE",
		Short: "Show one dead letter and its record, masked",
		Long: `Shows where the record lies, which field was wrong and why, and the record with card
numbers masked.

Exit status: 0 done, 1 there is no dead letter about this place, 2 could not run.`,
		Example: `  settlewatch dead show raw.capture.v1/0/41
  settlewatch dead show raw.capture.v1/0/41 --payload > record.json   # masked: mind the card number`,
		Args: arguments(cobra.ExactArgs(1), "name one place, such as raw.capture.v1/0/41; `settlewatch dead list --each` shows them"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withLetters(cmd, func(_ *bus.Bus, letters console.Letters) error {
				l, err := findLetter(cmd, letters, args[0])
				if err != nil {
					return err
				}
				return showLetter(cmd, l, asJSON, payload)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "the letter as JSON")
	cmd.Flags().BoolVar(&payload, "payload", false, "only the record, masked")
	boot.AddFlags(cmd.Flags(), boot.NeedKafka)
	return cmd
}

type retryFlags struct {
	set, unset    []string
	file, arrival string
	profile       string
	dryRun, json  bool
}

func deadRetryCommand() *cobra.Command {
	var f retryFlags
	cmd := &cobra.Command{
		Use:   "retry PLACE…",
		Short: "Correct a record and append it to its raw topic again",
		Long: `Reads the raw record again at its place, corrects it, decodes it as its ingest
service would, and appends it at the end of its raw partition, with the header
` + console.RetryHeader + ` naming the original place. What still cannot be read is refused,
so no second dead letter comes of it. Nothing that is printed holds a card number;
the record that is appended keeps the one it has.

A record of a vendor is decoded by --profile, the file that its service reads by. Of a
record that is a file of many rows, the good rows are in the log already: appended
again with the corrected ones, they are repeats.

Corrections: --set and --unset change fields of the raw record, which works on
several places at once; they need a record that is a JSON object. --file gives one
whole corrected record (- reads standard input), as its sender writes it: the text of
a dead letter is masked, and a masked card number is not sent again. With none of
them the same bytes are tried again, which helps where the decoder was changed since.

The record arrives when it is appended: a due time that has passed is judged then.
In a topic that is played (backfill, demonstration) the clock is that of the
records: say with --arrival when it is to have arrived.

The letter stays, retried or not. All places are checked before the first is appended,
and each is told when the log has it. Stopped half way, run the same command again:
retrying twice with the same correction is a repeat, and changes nothing. Of two
different corrections of one record the first stands, and the other is a conflict; but
what has no id (a settlement line without a line id) would then count as two.

Exit status: 0 appended (or, with --dry-run, could be), 1 a record was refused, 2
could not run.`,
		Example: `  settlewatch dead retry raw.capture.v1/0/41 --set currency=CNY --dry-run
  settlewatch dead retry raw.capture.v1/0/41 raw.capture.v1/0/57 --set amount_minor=1230 --unset amount
  settlewatch dead retry raw.settlement.v1/1/7 --file corrected.json`,
		Args: arguments(cobra.MinimumNArgs(1), "name the places, such as raw.capture.v1/0/41; `settlewatch dead list --each` shows them"),
		RunE: func(cmd *cobra.Command, args []string) error { return retryDead(cmd, args, f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.set, "set", nil, "field=value in the record; a value that is JSON is taken as it is, else as text; may be repeated")
	flags.StringArrayVar(&f.unset, "unset", nil, "remove this field; may be repeated")
	flags.StringVar(&f.file, "file", "", "the whole corrected record, instead of --set; - for standard input")
	flags.StringVar(&f.profile, "profile", "", "the `FILE` of the profile by which the service reads (YAML; default: the documented JSON)")
	flags.StringVar(&f.arrival, "arrival", "", "when it is to have arrived, RFC 3339 (default: now)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show the event, or why not, and append nothing")
	flags.BoolVar(&f.json, "json", false, "one JSON object per place: place, appended, and what was wrong")
	boot.AddFlags(flags, boot.NeedKafka)
	return cmd
}

// withLetters connects and reads the dead letters.
func withLetters(cmd *cobra.Command, use func(*bus.Bus, console.Letters) error) error {
	kafka, err := openKafka(cmd)
	if err != nil {
		return err
	}
	defer kafka.Close()
	letters, err := console.ReadLetters(cmd.Context(), kafka)
	if err != nil {
		return err
	}
	return use(kafka, letters)
}

func listDead(cmd *cobra.Command, f deadListFlags) error {
	return withLetters(cmd, func(_ *bus.Bus, letters console.Letters) error {
		letters = letters.Select(f.reason, f.field, f.topic)
		out := cmd.OutOrStdout()
		switch {
		case f.json && f.each:
			return printJSON(out, letters)
		case f.json:
			return printJSON(out, letters.Groups())
		case len(letters) == 0:
			fmt.Fprintln(cmd.ErrOrStderr(), "no dead letter matches")
			return nil
		case f.each:
			return letters.WriteEach(out)
		default:
			return letters.WriteGroups(out)
		}
	})
}

// printJSON prints values, one JSON a line.
func printJSON[T any](out io.Writer, values []T) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, v := range values {
		if err := encoder.Encode(v); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	return nil
}

// findLetter of a place; where there is none it says so, and the command ends.
func findLetter(cmd *cobra.Command, letters console.Letters, text string) (*deadletter.Letter, error) {
	at, err := console.ParsePlace(text)
	if err != nil {
		return nil, err
	}
	l, found := letters.Find(at)
	if !found {
		fmt.Fprintf(cmd.ErrOrStderr(), "settlewatch: no dead letter is about %s: `settlewatch dead list --each` shows all %d\n", text, len(letters))
		return nil, errFindings
	}
	return l, nil
}

func showLetter(cmd *cobra.Command, l *deadletter.Letter, asJSON, payload bool) error {
	out := cmd.OutOrStdout()
	switch {
	case asJSON:
		return printJSON(out, []*deadletter.Letter{l})
	case payload:
		b, err := l.Payload.Bytes()
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(out, console.Readable(b))
		return err
	default:
		return console.WriteLetter(out, l, styleOf(out))
	}
}

func (f *retryFlags) edit(cmd *cobra.Command, places int) (console.Edit, error) {
	if f.file == "" {
		return console.ParseEdit(f.set, f.unset)
	}
	if places != 1 || len(f.set)+len(f.unset) > 0 {
		return console.Edit{}, errors.New("--file is one whole record: give one place, and no --set or --unset")
	}
	in := cmd.InOrStdin()
	if f.file != "-" {
		file, err := os.Open(f.file)
		if err != nil {
			return console.Edit{}, fmt.Errorf("read corrected record: %w", err)
		}
		defer file.Close()
		in = file
	}
	// One byte more than may be: what is too large is the decoder's to refuse.
	b, err := io.ReadAll(io.LimitReader(in, intake.MaxBytes+1))
	if err != nil {
		return console.Edit{}, fmt.Errorf("read corrected record: %w", err)
	}
	return console.Edit{Replace: append([]byte{}, b...)}, nil
}

func retryDead(cmd *cobra.Command, places []string, f retryFlags) error {
	arrival := time.Now()
	if f.arrival != "" {
		var err error
		if arrival, err = time.Parse(time.RFC3339, f.arrival); err != nil {
			return fmt.Errorf("--arrival %q: want RFC 3339, such as 2025-10-09T12:00:00+08:00", f.arrival)
		}
	}
	edit, err := f.edit(cmd, len(places))
	if err != nil {
		return err
	}
	by, err := readProfile(f.profile)
	if err != nil {
		return err
	}
	return withLetters(cmd, func(kafka *bus.Bus, letters console.Letters) error {
		repaired, refused, err := f.repair(cmd, kafka, letters, places, edit, by)
		if err != nil {
			return err
		}
		if refused && len(places) > 1 {
			fmt.Fprintln(cmd.ErrOrStderr(), "settlewatch: nothing was appended, because a record was refused")
		}
		if !refused && !f.dryRun {
			return f.append(cmd, kafka, repaired, arrival)
		}
		for _, r := range repaired {
			if err := f.report(cmd, console.PlaceOf(r.Source), false, r, nil); err != nil {
				return err
			}
		}
		if refused {
			return errFindings
		}
		return nil
	})
}

// repair corrects and checks all before the first is appended; refused are those that
// it has reported.
func (f *retryFlags) repair(cmd *cobra.Command, kafka *bus.Bus, letters console.Letters, places []string, edit console.Edit, by *profile.Profile) (repaired []*console.Repaired, refused bool, err error) {
	for _, place := range places {
		l, err := findLetter(cmd, letters, place)
		if err != nil {
			return nil, false, err
		}
		r, err := console.Repair(cmd.Context(), kafka, l, edit, by)
		switch {
		case errors.Is(err, console.ErrNotRetried):
			refused = true
			if err := f.report(cmd, place, false, nil, err); err != nil {
				return nil, false, err
			}
		case err != nil:
			return nil, false, err
		default:
			repaired = append(repaired, r)
		}
	}
	return repaired, refused, nil
}

func (f *retryFlags) append(cmd *cobra.Command, kafka *bus.Bus, repaired []*console.Repaired, arrival time.Time) error {
	done, err := console.AppendAll(cmd.Context(), kafka, repaired, arrival.UnixMilli(), func(r *console.Repaired) error {
		return f.report(cmd, console.PlaceOf(r.Source), true, r, nil)
	})
	if err != nil {
		// After Ctrl-C too, which says nothing else.
		fmt.Fprintf(cmd.ErrOrStderr(), "settlewatch: %d of %d records are appended, the next one perhaps: "+
			"run the same command again, what is sent twice is a repeat\n", done, len(repaired))
	}
	return err
}

func (f *retryFlags) report(cmd *cobra.Command, place string, appended bool, r *console.Repaired, problem error) error {
	if f.json {
		line := struct {
			Place    string `json:"place"`
			Appended bool   `json:"appended"`
			Problem  string `json:"problem,omitempty"`
		}{Place: place, Appended: appended}
		if problem != nil {
			line.Problem = problem.Error()
		}
		return printJSON(cmd.OutOrStdout(), []any{line})
	}
	if problem != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "settlewatch: %v\n", problem)
		return nil
	}
	if appended {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: appended to %s again, as payment %s (`settlewatch payment '%s'` follows it)\n", place, r.Source.Topic, r.Events[0].GetPaymentKey(), r.Events[0].GetPaymentKey())
		return err
	}
	for i, e := range r.Events {
		text, err := console.EventText(e)
		if err != nil {
			return err
		}
		what := "could be read now, as this event; nothing was appended"
		if i > 0 {
			what = fmt.Sprintf("and as event %d of %d", i+1, len(r.Events))
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n%s", place, what, text); err != nil {
			return err
		}
	}
	return nil
}
