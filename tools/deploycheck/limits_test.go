package deploycheck

import (
	"bufio"
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	limitRow   = regexp.MustCompile("^\\| [^|]+ \\| ([^|]+) \\| `([a-z]+)\\.([A-Za-z]+)` \\|")
	limitBound = regexp.MustCompile(`(\d[\d,]*)( [KM]iB| ms)?`)
	duration   = regexp.MustCompile(`\* *time\.(Millisecond|Second|Minute)\b`)
)

// durations in milliseconds, as the document has them.
var durations = map[string]string{"Millisecond": "* 1", "Second": "* 1000", "Minute": "* 60000"}

// docs/limits.md states every limit in one place; each that is a constant is held to
// the code.
func TestLimitsAreTheCodes(t *testing.T) {
	file, err := os.Open("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	held := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		row := limitRow.FindStringSubmatch(lines.Text())
		if row == nil {
			continue
		}
		bound, name := limitBound.FindStringSubmatch(row[1]), row[2]+"."+row[3]
		if bound == nil {
			continue // a bound in words
		}
		want, err := strconv.ParseInt(strings.ReplaceAll(bound[1], ",", ""), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		switch bound[2] {
		case " KiB":
			want <<= 10
		case " MiB":
			want <<= 20
		}
		got, found, err := constantOf(row[2], row[3])
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			continue // an option with a default, or a type
		}
		if held++; got != want {
			t.Errorf("%s is %d, the document says %s", name, got, row[1])
		}
	}
	if held < 19 {
		t.Errorf("only %d limits were found", held)
	}
}

// constantOf finds the value of a package's constant in its source.
func constantOf(pkg, name string) (int64, bool, error) {
	declared := regexp.MustCompile(`(?m)^\s*(?:const )?` + name + `\s*=\s*([0-9_<*+ ]+(?:time\.[A-Z][a-z]+ *)?)(?:$|//)`)
	for _, module := range []string{"pipelines", "schemas", "services"} {
		paths, err := filepath.Glob(filepath.Join("..", "..", module, pkg, "*.go"))
		if err != nil {
			return 0, false, err
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return 0, false, err
			}
			m := declared.FindSubmatch(text)
			if m == nil || strings.HasSuffix(path, "_test.go") {
				continue
			}
			expression := duration.ReplaceAllStringFunc(string(m[1]), func(unit string) string {
				return durations[duration.FindStringSubmatch(unit)[1]]
			})
			v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expression)
			if err != nil {
				return 0, false, fmt.Errorf("%s: %w", path, err)
			}
			n, exact := constant.Int64Val(v.Value)
			return n, exact, nil
		}
	}
	return 0, false, nil
}
