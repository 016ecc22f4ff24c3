package capacity

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Quantity is a number that knows how it came about: what is computed from others
// carries their text, so that the arithmetic that is shown is the one that was done.
type Quantity struct {
	Value float64
	// text is the expression, or the number with its name.
	text string
	// compound expressions stand in brackets where they are a part of another one.
	compound bool
}

// number is a constant of the arithmetic itself, such as seconds of a day.
func number(v float64) Quantity { return Quantity{Value: v, text: format(v, "")} }

func (q Quantity) part() string {
	if q.compound {
		return "(" + q.text + ")"
	}
	return q.text
}

// chain joins products without brackets around products.
func chain(a, b Quantity, sign string, value float64) Quantity {
	return Quantity{Value: value, text: a.factor() + " " + sign + " " + b.part(), compound: true}
}

// factor is a product's text as the left side of another product.
func (q Quantity) factor() string {
	if q.compound && !strings.Contains(outside(q.text), " + ") && !strings.Contains(outside(q.text), " − ") {
		return q.text
	}
	return q.part()
}

// outside is the text without what stands in brackets.
func outside(text string) string {
	depth := 0
	return strings.Map(func(r rune) rune {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		default:
			if depth == 0 {
				return r
			}
		}
		return -1
	}, text)
}

func (q Quantity) times(b Quantity) Quantity { return chain(q, b, "×", q.Value*b.Value) }
func (q Quantity) over(b Quantity) Quantity  { return chain(q, b, "÷", q.Value/b.Value) }

func (q Quantity) plus(b Quantity) Quantity {
	return Quantity{Value: q.Value + b.Value, text: q.text + " + " + b.text, compound: true}
}

func (q Quantity) minus(b Quantity) Quantity {
	return Quantity{Value: q.Value - b.Value, text: q.text + " − " + b.part(), compound: true}
}

// up rounds to the next whole number: there is no half machine.
func (q Quantity) up() Quantity {
	return Quantity{Value: math.Ceil(q.Value - 1e-9), text: "⌈" + q.text + "⌉"}
}

func most(all ...Quantity) Quantity  { return choose("max", math.Max, all) }
func least(all ...Quantity) Quantity { return choose("min", math.Min, all) }

func choose(name string, of func(float64, float64) float64, all []Quantity) Quantity {
	value, texts := all[0].Value, make([]string, len(all))
	for i, q := range all {
		value, texts[i] = of(value, q.Value), q.text
	}
	return Quantity{Value: value, text: name + "(" + strings.Join(texts, ", ") + ")"}
}

// format writes a value in its unit for people: three digits, or whole numbers.
func format(v float64, unit string) string {
	switch unit {
	case "B", "B/s":
		return bytesText(v) + strings.TrimPrefix(unit, "B")
	case "":
		return digits(v)
	default:
		return digits(v) + " " + unit
	}
}

func bytesText(v float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	n := 0
	for ; math.Abs(v) >= 1000 && n < len(units)-1; n++ {
		v /= 1000
	}
	return digits(v) + " " + units[n]
}

// digits of a number: all of a large one in groups of three, three of a small one.
func digits(v float64) string {
	if math.Abs(v) >= 1e9 {
		return digits(v/1e9) + " billion"
	}
	if math.Abs(v) >= 1000 || v == math.Trunc(v) {
		return grouped(fmt.Sprintf("%.0f", v))
	}
	places := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	text := strconv.FormatFloat(v, 'f', places, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

func grouped(text string) string {
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return sign + text
}
