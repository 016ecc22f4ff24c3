package calendar

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrCycle is a settlement cycle that is not understood, or that these terms
// cannot judge.
var ErrCycle = errors.New("settlement cycle")

// cycleDaysMax bounds the count of days in a cycle.
const cycleDaysMax = 366

// cycle is a letter and a number of days. T+N counts working days after the
// clearing date, D+N calendar days; W+N and M+N count working days after the
// last day of the week or month that contains the clearing date.
type cycle struct {
	letter byte
	days   int
}

// parseCycle reads exactly what String writes: an upper-case letter, a plus, and
// digits without leading zeros.
func parseCycle(text string) (cycle, error) {
	if len(text) < 3 || len(text) > 5 || text[1] != '+' {
		return cycle{}, badCycle(text, "want T+N, D+N, W+N or M+N")
	}
	digits := text[2:]
	days, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || strconv.FormatUint(days, 10) != digits {
		return cycle{}, badCycle(text, "want a plain number after the plus")
	}
	if days > cycleDaysMax {
		return cycle{}, badCycle(text, fmt.Sprintf("at most %d days", cycleDaysMax))
	}
	switch text[0] {
	case 'T', 'D':
	case 'W', 'M':
		if days == 0 {
			return cycle{}, badCycle(text, "weekly and monthly cycles pay on the first working day or later")
		}
	default:
		return cycle{}, badCycle(text, "want T+N, D+N, W+N or M+N")
	}
	return cycle{letter: text[0], days: int(days)}, nil
}

// String is the form that parseCycle reads.
func (c cycle) String() string { return string(c.letter) + "+" + strconv.Itoa(c.days) }

func badCycle(text, problem string) error {
	return fmt.Errorf("%w %.20q: %s", ErrCycle, text, problem)
}
