package capacity

import (
	"errors"
	"fmt"
	"strings"
)

// Legend says what the letters in the arithmetic mean.
const Legend = "(m) measured, (a) assumed, (s) set by the product, (g) given"

// Parts of a document that are generated, by name.
func (r *Report) Parts() (map[string]string, error) {
	variants, err := VariantTable(r.Costs, r.Plan.Demand)
	if err != nil {
		return nil, err
	}
	parts := map[string]string{}
	for name, table := range map[string]Table{
		"plan": r.PlanTable(), "machines": r.MachineTable(), "figures": r.FigureTable(), "variants": variants,
		"outcomes": r.OutcomeTable(), "grid": r.GridTable(), "held": r.HeldTable(), "policies": policyTable(),
	} {
		var text strings.Builder
		table.markdown(&text)
		parts[name] = text.String()
	}
	parts["plan"] = Legend + ".\n\n" + parts["plan"]
	parts["figures"] = "Measured on: " + r.Costs.On + "\n\n" + parts["figures"]
	c := r.Plan.Cell
	parts["cell"] = fmt.Sprintf("One cell: %d joiners with %s cores, %s log partitions with %s payments each, %d Redis shards, %d brokers.\n\n",
		c.Joiners, digits(c.Cores), digits(float64(c.Partitions)), digits(c.Payments), c.RedisShards, c.Brokers)
	return parts, nil
}

func policyTable() Table {
	t := Table{{"policy", "what it means"}}
	for _, p := range Policies {
		t = append(t, []string{p.Name, p.About})
	}
	return t
}

// PartNames in the order in which they are printed.
var PartNames = []string{"machines", "variants", "cell", "policies", "outcomes", "grid", "held", "plan", "figures"}

const (
	partBegins = "<!-- capacity:"
	partEnds   = "<!-- capacity: end -->"
)

// Update replaces the generated parts of a document: what stands between
// "<!-- capacity:NAME -->" and "<!-- capacity: end -->".
func Update(document string, parts map[string]string) (string, error) {
	var out strings.Builder
	rest, found := document, 0
	for {
		before, after, has := strings.Cut(rest, partBegins)
		out.WriteString(before)
		if !has {
			break
		}
		name, after, closed := strings.Cut(after, "-->")
		name = strings.TrimSpace(name)
		text, known := parts[name]
		_, behind, ends := strings.Cut(after, partEnds)
		switch {
		case !closed || !known:
			return "", fmt.Errorf("update document: there is no part %q; the parts are %s", name, strings.Join(PartNames, ", "))
		case !ends:
			return "", fmt.Errorf("update document: part %q has no end: write %s behind it", name, partEnds)
		}
		out.WriteString(partBegins + " " + name + " -->\n\n" + text + partEnds)
		rest = behind
		found++
	}
	if found == 0 {
		return "", errors.New("update document: it has no part to update: write " + partBegins + " plan --> and " + partEnds)
	}
	return out.String(), nil
}
