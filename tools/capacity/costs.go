package capacity

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Figure is one number that a plan starts from. Exactly one of Measured, Assumed
// and Set says where it comes from.
type Figure struct {
	Name string `yaml:"name" json:"name"`
	// Value in Unit.
	Value float64 `yaml:"value" json:"value"`
	Unit  string  `yaml:"unit,omitempty" json:"unit,omitempty"`
	About string  `yaml:"about" json:"about"`
	// Measured is the command that measured it.
	Measured string `yaml:"measured,omitempty" json:"measured,omitempty"`
	// Assumed is why it is plausible.
	Assumed string `yaml:"assumed,omitempty" json:"assumed,omitempty"`
	// Set is where the product sets it.
	Set string `yaml:"set,omitempty" json:"set,omitempty"`
}

// Mark tells in one letter where the figure comes from: m measured, a assumed, s set
// by the product.
func (f Figure) Mark() string {
	switch {
	case f.Measured != "":
		return "m"
	case f.Set != "":
		return "s"
	default:
		return "a"
	}
}

// Source is the command, the reason or the place.
func (f Figure) Source() string { return f.Measured + f.Assumed + f.Set }

func (f Figure) quantity() Quantity {
	return Quantity{Value: f.Value, text: format(f.Value, f.Unit) + "(" + f.Mark() + ")"}
}

// Costs are all figures of a plan.
type Costs struct {
	// On says when and on what the measured figures were taken.
	On      string   `yaml:"taken" json:"taken"`
	Figures []Figure `yaml:"figures" json:"figures"`
}

//go:embed costs.yaml
var shipped []byte

// Shipped are the figures of the repository.
func Shipped() (*Costs, error) {
	c, err := ParseCosts(shipped)
	if err != nil {
		return nil, fmt.Errorf("the figures that are built in: %w", err)
	}
	return c, nil
}

// ParseCosts reads YAML. Each known figure must be there, and no other.
func ParseCosts(text []byte) (*Costs, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	c := &Costs{}
	if err := decoder.Decode(c); err != nil {
		return nil, fmt.Errorf("read figures: %w", err)
	}
	seen := map[string]bool{}
	var wrong []error
	for _, f := range c.Figures {
		if seen[f.Name] {
			wrong = append(wrong, fmt.Errorf("figure %s: it is there twice", f.Name))
		}
		seen[f.Name] = true
		if !slices.Contains(names, f.Name) {
			wrong = append(wrong, fmt.Errorf("figure %s: no plan uses it", f.Name))
		}
		sources := 0
		for _, s := range []string{f.Measured, f.Assumed, f.Set} {
			if s != "" {
				sources++
			}
		}
		if sources != 1 {
			wrong = append(wrong, fmt.Errorf("figure %s: give one of measured, assumed and set", f.Name))
		}
		wrong = append(wrong, inRange(f.Name, f.Value))
	}
	for _, name := range names {
		if !seen[name] {
			wrong = append(wrong, fmt.Errorf("figure %s: it is missing", name))
		}
	}
	return c, errors.Join(wrong...)
}

// inRange refuses what would make a plan without meaning.
func inRange(name string, v float64) error {
	share := slices.Contains(shares, name)
	switch {
	case !(v >= 0) || v > 1e15:
		return fmt.Errorf("figure %s: %v is no quantity", name, v)
	case share && (v <= 0 || v > 1):
		return fmt.Errorf("figure %s: %v is no share; give more than 0 and at most 1", name, v)
	case v == 0 && !slices.Contains(mayBeZero, name):
		return fmt.Errorf("figure %s: it must be more than 0", name)
	}
	return nil
}

// comment stands on top of the file.
const comment = `# What ` + "`settlewatch capacity`" + ` computes from. Each figure is measured (the command), assumed
# (the reason) or set by the product (the place). Measured ones are replaced by
# ` + "`make capacity-doc COSTS=\"FILE …\"`" + `, where FILE is what a bench printed with --json; units: B, s
# and µs of CPU time. No price is a vendor's.

`

// Marshal writes what ParseCosts reads.
func (c *Costs) Marshal() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(comment)
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(c), e.Close()); err != nil {
		return nil, fmt.Errorf("write figures: %w", err)
	}
	return out.Bytes(), nil
}

// Figure by name; all known ones are there.
func (c *Costs) Figure(name string) Figure {
	for _, f := range c.Figures {
		if f.Name == name {
			return f
		}
	}
	panic("capacity: no figure is called " + name)
}

// Override sets a figure by "name=value" of whoever runs it: from then on it is
// assumed.
func (c *Costs) Override(assignment string) error {
	name, text, found := strings.Cut(assignment, "=")
	if !found {
		return fmt.Errorf("set %q: write NAME=VALUE", assignment)
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("set %s: %q is no number", name, text)
	}
	if err := inRange(name, value); err != nil {
		return err
	}
	for i := range c.Figures {
		if f := &c.Figures[i]; f.Name == name {
			f.Value, f.Measured, f.Set, f.Assumed = value, "", "", "given by --set"
			return nil
		}
	}
	return fmt.Errorf("set %s: there is no such figure; `settlewatch capacity --figures` lists them", name)
}

// measured replaces a measured value.
func (c *Costs) measured(name string, value float64, command string) {
	for i := range c.Figures {
		if f := &c.Figures[i]; f.Name == name {
			f.Value, f.Measured, f.Assumed, f.Set = value, command, "", ""
		}
	}
}
