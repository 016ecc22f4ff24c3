package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/table"
	"settlewatch/services/boot"
	"settlewatch/tools/console"
)

func queryCommand() *cobra.Command {
	var list, showSQL bool
	var format string
	var parameters []string
	cmd := &cobra.Command{
		Use:   "query NAME",
		Short: "Ask ClickHouse the questions that analysts ask first",
		Long: `Runs one of the documented questions of schemas/table/queries in ClickHouse and
prints the answer: as a table for people (amounts in major units), as CSV or as
JSON, one object a row (amounts in minor units, 12.30 CNY is 1230).

Exit status: 0 done, 2 could not run.`,
		Example: `  settlewatch query --list
  settlewatch query ageing --param acquirer=umpay --param overdue=true
  settlewatch query settlement-lag --format csv > lag.csv
  settlewatch query open-alerts --param limit=10 --format json | jq -r .payment_key
  settlewatch query completeness --sql     # the SQL, to go on from`,
		Args:              arguments(cobra.MaximumNArgs(1), "ask one question at a time"),
		ValidArgsFunction: completeQuery,
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				format = string(console.FormatJSON)
			}
			if !slices.Contains(console.Formats, console.Format(format)) {
				return fmt.Errorf("--format %q: use table, csv or json", format)
			}
			switch {
			case list:
				return listQueries(cmd.OutOrStdout(), console.Format(format))
			case len(args) == 0:
				return errors.New("name a query: `settlewatch query --list` shows all, and what each answers")
			}
			q, err := console.FindQuestion(args[0])
			if err != nil {
				return err
			}
			if showSQL {
				_, err := fmt.Fprint(cmd.OutOrStdout(), q.SQL)
				return err
			}
			return ask(cmd, q, parameters, console.Format(format))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&list, "list", false, "list the questions with their parameters")
	flags.BoolVar(&showSQL, "sql", false, "print the query's SQL instead of running it")
	flags.StringVar(&format, "format", string(console.FormatTable), "table, csv or json")
	flags.Bool("json", false, "the same as --format json")
	flags.StringArrayVar(&parameters, "param", nil, "name=value; may be repeated")
	boot.AddFlags(flags, boot.NeedClickHouse)
	return cmd
}

func completeQuery(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	questions, err := table.Questions()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, q := range questions {
		out = append(out, q.Name+"\t"+q.Asks)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func ask(cmd *cobra.Command, q table.Question, given []string, format console.Format) error {
	parameters, err := console.Parameters(q, given)
	if err != nil {
		return err
	}
	return withTables(cmd, func(tables *warehouse.Warehouse) error {
		answer, err := tables.Ask(cmd.Context(), q.SQL, parameters)
		if err != nil {
			return fmt.Errorf("query %s: %w", q.Name, err)
		}
		return console.WriteAnswer(cmd.OutOrStdout(), answer, format)
	})
}

func listQueries(out io.Writer, format console.Format) error {
	questions, err := table.Questions()
	if err != nil {
		return err
	}
	if format == console.FormatJSON {
		return console.WriteQuestionsJSON(out, questions)
	}
	for _, q := range questions {
		if _, err := fmt.Fprintf(out, "%s\n    %s\n", q.Name, q.Asks); err != nil {
			return err
		}
		for _, p := range q.Parameters {
			if _, err := fmt.Fprintf(out, "    --param %-24s %s (%s)\n", p.Name+"="+p.Default, p.About, strings.ToLower(p.Type)); err != nil {
				return err
			}
		}
	}
	return nil
}
