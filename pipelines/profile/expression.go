package profile

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/cockroachdb/apd/v3"
	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
)

// expression is a compiled expression and the fields that it asks for.
type expression struct {
	program *vm.Program
	fields  []string
	line    int // in the profile
	// part is set where the expression only takes a part of a column.
	part *part
}

// part of a column is split(field("column"), "separator")[index], as identifiers
// are often put together. It is read without the machine.
type part struct {
	column, separator string
	index             int
}

// partOf recognizes such an expression; nil for any other.
func partOf(node ast.Node) *part {
	member, ok1 := node.(*ast.MemberNode)
	if !ok1 || member.Optional {
		return nil
	}
	split, ok1 := member.Node.(*ast.BuiltinNode)
	index, ok2 := member.Property.(*ast.IntegerNode)
	if !ok1 || !ok2 || split.Name != "split" || len(split.Arguments) != 2 || index.Value < 0 {
		return nil
	}
	call, ok1 := split.Arguments[0].(*ast.CallNode)
	separator, ok2 := split.Arguments[1].(*ast.StringNode)
	if !ok1 || !ok2 || len(call.Arguments) != 1 || separator.Value == "" {
		return nil
	}
	callee, ok1 := call.Callee.(*ast.IdentifierNode)
	column, ok2 := call.Arguments[0].(*ast.StringNode)
	if !ok1 || !ok2 || callee.Value != "field" {
		return nil
	}
	return &part{column: column.Value, separator: separator.Value, index: index.Value}
}

// of a text; false where the machine has to say what is wrong.
func (p *part) of(text string) (string, bool) {
	if len(p.separator) == 1 {
		return p.ofBytes(text)
	}
	for range p.index {
		_, rest, found := strings.Cut(text, p.separator)
		if !found {
			return "", false
		}
		text = rest
	}
	text, _, _ = strings.Cut(text, p.separator)
	return text, true
}

// ofBytes is of where the separator is one byte: the parts are so short that looking for
// it byte by byte is the fastest.
func (p *part) ofBytes(text string) (string, bool) {
	first, left := 0, p.index
	for i := range len(text) {
		if text[i] != p.separator[0] {
			continue
		}
		if left == 0 {
			return text[first:i], true
		}
		left--
		first = i + 1
	}
	return text[first:], left == 0
}

// Errors of the functions. An expression that meets one refuses its record.
var (
	errNotAmount = errors.New("not an amount in the profile's format")
	errNotDate   = errors.New("not a date in the layout")
	errTooLong   = errors.New("the text becomes too long")
)

// environment is all that an expression can see. There is no clock in it, no
// input, no output, and nothing that repeats: with neither loops nor variables
// an expression ends after as many steps as it has parts.
type environment struct {
	Field    func(string) string                          `expr:"field"`
	Has      func(string) bool                            `expr:"has"`
	File     string                                       `expr:"file"`
	FileDate string                                       `expr:"file_date"`
	Negative func(string) (bool, error)                   `expr:"negative"`
	Compare  func(a, b string) (int, error)               `expr:"compare"`
	Add      func(a, b string) (string, error)            `expr:"add"`
	Sub      func(a, b string) (string, error)            `expr:"sub"`
	Date     func(text, layout string) (string, error)    `expr:"date"`
	Replace  func(text, old, with string) (string, error) `expr:"replace"`
}

// builtins are the library's functions that an expression may use.
var builtins = []string{"len", "trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "indexOf", "hasPrefix", "hasSuffix", "int", "string"}

// What bounds an expression: parts, and bytes of a text that replace makes.
const (
	nodesMax   = 500
	replaceMax = 64 << 10
)

// compile makes a program whose result is of the kind: reflect.Bool for a
// condition, reflect.String for a value.
func compile(text string, kind reflect.Kind) (*expression, error) {
	e := &expression{}
	checker := &treeChecker{}
	options := []expr.Option{
		expr.Env(&environment{}), expr.AsKind(kind), expr.MaxNodes(nodesMax),
		expr.DisableAllBuiltins(), expr.Patch(checker),
	}
	for _, name := range builtins {
		options = append(options, expr.EnableBuiltin(name))
	}
	program, err := expr.Compile(text, options...)
	if checker.problem != "" {
		return nil, errors.New(checker.problem)
	}
	if err != nil {
		return nil, plainError(err)
	}
	e.program, e.fields, e.part = program, checker.fields, partOf(program.Node())
	return e, nil
}

// plainError is the library's message on one line, without its drawing.
func plainError(err error) error {
	var at *file.Error
	if errors.As(err, &at) {
		return fmt.Errorf("%s (character %d)", at.Message, at.Column+1)
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(text)
}

// treeChecker collects the fields that an expression names and refuses what
// would have no bound.
type treeChecker struct {
	fields  []string
	problem string
}

// Visit implements ast.Visitor.
func (c *treeChecker) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.VariableDeclaratorNode:
		c.problem = "variables (let) are not allowed"
	case *ast.CallNode:
		name, is := n.Callee.(*ast.IdentifierNode)
		if !is || name.Value != "field" && name.Value != "has" || len(n.Arguments) != 1 {
			return
		}
		argument, constant := n.Arguments[0].(*ast.StringNode)
		if !constant {
			c.problem = name.Value + " wants the name in quotes, so that it can be checked"
			return
		}
		c.fields = append(c.fields, argument.Value)
	}
}

// newEnvironment is what expressions see of the rows that row points to.
func newEnvironment(current **row, amounts amountFormat, base string) *environment {
	return &environment{
		Field: func(name string) string { return (*current).value(name) },
		Has:   func(name string) bool { return (*current).value(name) != "" },
		File:  base,
		Negative: func(text string) (bool, error) {
			d, err := amounts.decimalOf(text)
			return err == nil && d.Negative && !d.IsZero(), err
		},
		Compare: func(a, b string) (int, error) {
			x, err1 := amounts.decimalOf(a)
			y, err2 := amounts.decimalOf(b)
			if err := errors.Join(err1, err2); err != nil {
				return 0, errNotAmount
			}
			return x.Cmp(y), nil
		},
		Add: func(a, b string) (string, error) { return amounts.compute(a, b, exact.Add) },
		Sub: func(a, b string) (string, error) { return amounts.compute(a, b, exact.Sub) },
		Date: func(text, layout string) (string, error) {
			t, err := time.Parse(layout, text)
			if err != nil {
				return "", errNotDate
			}
			return t.Format(time.DateOnly), nil
		},
		Replace: func(text, old, with string) (string, error) {
			if n := strings.Count(text, old); len(text)+n*len(with) > replaceMax {
				return "", errTooLong
			}
			return strings.ReplaceAll(text, old, with), nil
		},
	}
}

// exact has more digits than two amounts of the longest kind can need.
var exact = apd.BaseContext.WithPrecision(2 * maxAmountBytes)

// compute adds or subtracts. The result is written as the file writes amounts,
// so that it can go where a column's text could.
func (f amountFormat) compute(a, b string, operation func(d, x, y *apd.Decimal) (apd.Condition, error)) (string, error) {
	x, err1 := f.decimalOf(a)
	y, err2 := f.decimalOf(b)
	if errors.Join(err1, err2) != nil {
		return "", errNotAmount
	}
	var result apd.Decimal
	if _, err := operation(&result, x, y); err != nil {
		return "", errNotAmount
	}
	return strings.Replace(result.Text('f'), ".", f.decimal, 1), nil
}

// run evaluates; nil is the result "" of a value.
func (e *expression) run(machine *vm.VM, env *environment) (any, error) {
	return machine.Run(e.program, env)
}
