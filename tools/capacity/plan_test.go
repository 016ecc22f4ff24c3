package capacity

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func shippedCosts(t testing.TB) *Costs {
	t.Helper()
	c, err := Shipped()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustMake(t testing.TB, c *Costs, d Demand) *Plan {
	t.Helper()
	p, err := Make(c, d)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	unitOf    = map[string]float64{"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15, "billion": 1e9}
	inText    = regexp.MustCompile(`(\d[\d.]*)(?: (billion))?(?: (billion))?(?: (kB|MB|GB|TB|PB|B))?(?:/s| /s)?(?: (?:µs|s|days|events|payments))?(?:/s)?(?:\([masg]\))?`)
	operators = strings.NewReplacer("×", "*", "÷", "/", "−", "-", "⌈", "ceil(", "⌉", ")", ",", "")
)

// evaluate reads arithmetic as a person would.
func evaluate(text string) (float64, error) {
	// Commas within numbers go, those between arguments stay.
	text = regexp.MustCompile(`(\d),(\d\d\d)`).ReplaceAllString(text, "$1$2")
	text = regexp.MustCompile(`(\d),(\d\d\d)`).ReplaceAllString(text, "$1$2")
	text = strings.ReplaceAll(text, ", ", ";")
	text = operators.Replace(text)
	text = inText.ReplaceAllStringFunc(text, func(s string) string {
		parts := inText.FindStringSubmatch(s)
		v, _ := strconv.ParseFloat(parts[1], 64)
		for _, unit := range parts[2:] {
			if by, has := unitOf[unit]; has {
				v *= by
			}
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	})
	tree, err := parser.ParseExpr(strings.ReplaceAll(text, ";", ", "))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", text, err)
	}
	return compute(tree)
}

func compute(x ast.Expr) (float64, error) {
	switch x := x.(type) {
	case *ast.BasicLit:
		return strconv.ParseFloat(x.Value, 64)
	case *ast.ParenExpr:
		return compute(x.X)
	case *ast.BinaryExpr:
		a, err1 := compute(x.X)
		b, err2 := compute(x.Y)
		if err1 != nil || err2 != nil {
			return 0, errors.Join(err1, err2)
		}
		if v, known := map[token.Token]float64{token.MUL: a * b, token.QUO: a / b, token.ADD: a + b, token.SUB: a - b}[x.Op]; known {
			return v, nil
		}
	case *ast.CallExpr:
		out := math.NaN()
		for _, arg := range x.Args {
			v, err := compute(arg)
			if err != nil {
				return 0, err
			}
			switch name := x.Fun.(*ast.Ident).Name; {
			case name == "ceil":
				out = math.Ceil(v - 1e-9)
			case math.IsNaN(out):
				out = v
			case name == "max":
				out = max(out, v)
			case name == "min":
				out = min(out, v)
			}
		}
		return out, nil
	}
	return 0, fmt.Errorf("%T is no arithmetic", x)
}

// What is shown is what was done, but for the digits that are not shown.
func TestTheArithmeticShownIsTheOneDone(t *testing.T) {
	c := shippedCosts(t)
	for _, v := range Variants {
		for _, l := range mustMake(t, c, v.Change(DesignLoad)).Lines {
			how := strings.TrimPrefix(l.How, "the sum over the machines: ")
			got, err := evaluate(how)
			if err != nil {
				t.Fatalf("%s: %s: %v", v.Name, l.Name, err)
			}
			if difference := math.Abs(got - l.Value); difference > 0.03*math.Abs(l.Value) && difference > 1 {
				t.Errorf("%s: %s is %v, its arithmetic %q gives %v", v.Name, l.Name, l.Value, l.How, got)
			}
		}
	}
}

func setAll(t *testing.T, c *Costs, assignments ...string) {
	t.Helper()
	for _, a := range assignments {
		if err := c.Override(a); err != nil {
			t.Fatal(err)
		}
	}
}

// 1,000 payments a second, of two events, twice that at the peak, open for a day and
// kept for another: 172.8 million payments in the state.
func TestPlanByHand(t *testing.T) {
	c := shippedCosts(t)
	setAll(t, c, "redis-open=100", "redis-kept=50", "joiner-open=200", "joiner-kept=100", "joiner-cpu=10", "utilisation=0.5",
		"partition-payments=10e6", "load-rate=1e6", "takeover=10", "joiner-memory=100e9", "memory-utilisation=0.5", "joiner-cores=4",
		"shard-bytes=1e9", "redis-replicas=1", "group-members=2", "cluster-nodes=10", "mark-every=0.25", "ingest-cpu=5", "raw-stored=50",
		"partition-bytes=1e6", "append-every=0.1", "redis-cpu=1", "checkpoint-every=600")
	p := mustMake(t, c, Demand{PaymentsPerSecond: 1000, EventsPerPayment: 2, Peak: 2, OpenDays: 1, LifeDays: 2})
	for name, want := range map[string]float64{
		"events a second, peak": 4000,
		"payments in the state": 172.8e6,
		"state in Redis":        86.4e6*100 + 86.4e6*50,
		"log partitions by size: none larger than was measured": 18, // 17.28
		"log partitions by rate: one folds on one core":         1,  // 0.08
		"log partitions":                    18,
		"joiners (N+1)":                     2,  // 25.92 GB in 50 GB less a partition that is loaded
		"shards by size":                    13, // 12.96 GB
		"nodes with replicas":               26,
		"cells":                             3, // 2.6 by Redis, 1 by group
		"raw partitions":                    9, // one a feed and cell
		"log partitions of a cell":          6,
		"appends to the log a second, peak": 540, // 9 × 6 ÷ 0.1 s
		"marks a second: each raw partition marks each log partition of its cell": 216,
	} {
		if got := p.Line(name).Value; !near(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if p.Cell.Partitions != 6 || p.Cell.RedisShards != 5 || !near(p.Cell.Records*18, 2000+216) {
		t.Errorf("cell %+v", p.Cell)
	}
}

func TestMoneyIsThatOfTheMachines(t *testing.T) {
	p := mustMake(t, shippedCosts(t), DesignLoad)
	sum := 0.0
	for _, m := range p.Machines {
		sum += m.PerMonth
	}
	if month := p.Line("money a month").Value; !near(month, sum) || sum == 0 {
		t.Errorf("%v a month, the machines cost %v", month, sum)
	}
}

// Who asks for more never needs less.
func TestMoreLoadNeedsNoLess(t *testing.T) {
	c := shippedCosts(t)
	for name, change := range map[string]func(*Demand, float64){
		"rate":   func(d *Demand, by float64) { d.PaymentsPerSecond *= by },
		"peak":   func(d *Demand, by float64) { d.Peak *= by },
		"events": func(d *Demand, by float64) { d.EventsPerPayment *= by },
		"life":   func(d *Demand, by float64) { d.LifeDays *= by },
	} {
		before := map[string]float64{}
		for _, by := range []float64{1, 1.5, 3, 10} {
			d := DesignLoad
			change(&d, by)
			for _, m := range mustMake(t, c, d).Machines {
				if m.Count < before[m.Role] {
					t.Errorf("%s times %v: %v of %s, %v before", name, by, m.Count, m.Role, before[m.Role])
				}
				before[m.Role] = m.Count
			}
		}
	}
}

func TestDemandsWithoutMeaning(t *testing.T) {
	for name, spoil := range map[string]func(*Demand){
		"no payments":                    func(d *Demand) { d.PaymentsPerSecond = 0 },
		"not a number":                   func(d *Demand) { d.Peak = math.NaN() },
		"a peak below the mean":          func(d *Demand) { d.Peak = 0.5 },
		"forgotten before it is settled": func(d *Demand) { d.LifeDays = 1 },
	} {
		d := DesignLoad
		spoil(&d)
		if _, err := Make(shippedCosts(t), d); err == nil {
			t.Errorf("%s: planned", name)
		}
	}
}

// docs/capacity.md is what the command prints: `make capacity-doc` renews it.
func TestDocumentIsCurrent(t *testing.T) {
	report, err := MakeReport(t.Context(), shippedCosts(t), DesignLoad, 1)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := report.Parts()
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	updated, err := Update(string(document), parts)
	if err != nil {
		t.Fatal(err)
	}
	if updated != string(document) {
		t.Error("docs/capacity.md is not what the figures give: run `make capacity-doc`")
	}
}

func TestUpdateReplacesPartsOnly(t *testing.T) {
	parts := map[string]string{"plan": "new\n", "held": "held\n"}
	got, err := Update("a\n<!-- capacity: plan -->\nold\n<!-- capacity: end -->\nb <!-- capacity: held --><!-- capacity: end -->c", parts)
	want := "a\n<!-- capacity: plan -->\n\nnew\n<!-- capacity: end -->\nb <!-- capacity: held -->\n\nheld\n<!-- capacity: end -->c"
	if err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
	for _, text := range []string{"", "<!-- capacity: other -->x<!-- capacity: end -->", "<!-- capacity: plan -->x", "<!-- capacity: plan"} {
		if _, err := Update(text, parts); err == nil {
			t.Errorf("%q: updated", text)
		}
	}
}
