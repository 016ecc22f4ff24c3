package profile_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
)

// small is a profile of few columns; %s are further keys of the file.
const small = `
profile: small
version: 1
files:
  - match: "*"
    zone: UTC
    layout: "2006-01-02"
    kind: line
    fields: {acquirer: {const: a}, order_id: %s, batch_id: {const: b}, currency: {const: CNY}, gross: %s, stage: {const: cleared}, arrival: {const: 2025-01-01}}
`

func smallProfile(t testing.TB, order, amount, keys string) *profile.Profile {
	t.Helper()
	text := fmt.Sprintf(small, order, amount)
	for _, key := range strings.Split(keys, ";") {
		text += "    " + strings.TrimSpace(key) + "\n"
	}
	p, err := profile.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return p
}

// outline writes records in short: line and amount, or line and why not.
func outline(p *profile.Profile, r io.Reader) string {
	var all []string
	for record, err := range p.Read("f", r) {
		switch {
		case err != nil:
			all = append(all, "FILE "+strings.TrimPrefix(err.Error(), "f"))
		case record.Err != nil:
			all = append(all, fmt.Sprintf("%d %s %s", record.Line, record.Err.Path, record.Err.Reason))
		case record.Skipped():
			all = append(all, fmt.Sprintf("%d -", record.Line))
		default:
			for _, e := range record.Events {
				all = append(all, fmt.Sprintf("%d=%d", record.Line, e.GetAmounts().GetGrossMinor()))
			}
		}
	}
	return strings.Join(all, "|")
}

type outlineCase struct{ name, keys, text, want string }

func runOutlines(t *testing.T, order, amount, format string, cases []outlineCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := smallProfile(t, order, amount, "format: "+format+";"+c.keys)
			// In pieces of one byte, too: where a buffer ends may not matter.
			for _, r := range []io.Reader{strings.NewReader(c.text), &trickle{text: c.text}} {
				got := outline(p, r)
				if strings.HasPrefix(c.want, "~") {
					if !strings.Contains(got, c.want[1:]) {
						t.Errorf("got %q, want something with %q", got, c.want[1:])
					}
				} else if got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			}
		})
	}
}

// trickle gives one byte at a time.
type trickle struct{ text string }

func (r *trickle) Read(p []byte) (int, error) {
	if r.text == "" {
		return 0, io.EOF
	}
	p[0] = r.text[0]
	r.text = r.text[1:]
	return 1, nil
}

func TestCSV(t *testing.T) {
	long := strings.Repeat("x", intake.MaxBytes+10)
	runOutlines(t, "o", "g", "csv", []outlineCase{
		{"plain", "", "o,g\n1,2.50\n2,3\n", "2=250|3=300"},
		{"no end of the last line", "", "o,g\n1,2.50", "2=250"},
		{"mixed ends of lines", "", "o,g\r\n1,2\r2,3\n3,4\r\n", "2=200|3=300|4=400"},
		{"blank lines", "", "\n\no,g\n\n1,2\n  \n2,3\n", "5=200|7=300"},
		{"several lines in quotes", "", "o,g,n\n1,2,\"a\nb\r\nc\"\n2,3,\n3,4,\"\"\"x\"\"\n\"\n4,5,\n", "2=200|5=300|6=400|8=500"},
		{"quote never closed", "", "o,g,n\n1,2,\"a\n2,3,b\n3,4,c\n", "2  bad_text|3=300|4=400"},
		{"quote that swallows", "", "o,g,n\n1,2,\"a\n2,3,b\n3,4,\"c\"\n", "2  bad_text|3=300|4=400"},
		{"after the quote", "", "o,g\n\"1\"x,2\n2,3\n", "2  bad_text|3=300"},
		{"too few and too many", "", "o,g\n1\n2,3,4\n3,4,\n4,5\n", "2  missing_field|3  bad_text|4=400|5=500"},
		{"line too long", "", "o,g\n1,2\n" + long + "\n2,3\n", "2=200|3  too_large|4=300"},
		{"columns missing", "", "a,b\n1,2\n", "~:1: the profile names a column that the file does not have"},
		{"headerless", "csv: {header: [o, g]}", "1,2\n2,3\n", "1=200|2=300"},
		{"header further down", "csv: {header: 3}", "title\n\"\no,g\n1,2\n", "4=200"},
		{"header beyond the end", "csv: {header: 9}", "o,g\n", "~ends too early"},
		{"comment, strip, trim", "csv: {comment: '#', strip: '`', trim: true}", "# x\n o , g \n `1 , `2 \n#,\n", "3=200"},
		{"footer", "csv: {footer: 2}", "o,g\n1,2\n2,3\nsum,2\nend,\n", "2=200|3=300"},
		{"footer of a short file", "csv: {footer: 2}", "o,g\nsum,2\n", ""},
		{"delimiter and quote", "csv: {delimiter: '|+|', quote: \"'\"}", "o|+|g\n'1|+|x'|+|2\n", "2=200"},
		{"tabs", "csv: {delimiter: \"\\t\"}", "o\tg\n1\t2\n", "2=200"},
		{"no quotes", "csv: {quote: none}", "o,g\n\"1,2\n", "2=200"},
		{"filter", `where: field("o") != "1"`, "o,g\n1,2\n2,3\n", "2 -|3=300"},
		{"an amount that is none", "", "o,g\n1,abc\n2,3\n", "2 g bad_text|3=300"},
		{"byte order mark", "", "\uFEFFo,g\n1,2\n", "2=200"},
		{"empty", "", "", "FILE : the file is empty"},
		{"only a mark", "", "\uFEFF", "~the file is empty: there is no header"},
		{"header alone", "", "o,g\n", ""},
		{"bad UTF-8", "", "o,g\n\xff,2\n2,3\n", "2  not_utf8|3=300"},
		{"header in another encoding", "", "o,g,\xc9\xcc\n1,2,x\n", "~:1: the text is not in the profile's encoding"},
		{"UTF-16 unannounced", "", "\xff\xfeo\x00", "~begins with the mark of UTF-16"},
		{"compressed", "", "\x1f\x8b\x08\x00", "~unpack it"},
		{"a forbidden column", "", "o,g,CVV2\n1,2,3\n", "~:1: the file has a column that may never be stored"},
		{"a column twice", "", "o,g,g\n1,2,3\n", "2=200"},
		{"a card number in a note", "", "o,g,n\n1,2,4111 1111 1111 1111\n2,3,\n", "2 n card_number|3=300"},
		{"declared an identifier", "identifiers: [n]", "o,g,n\n1,2,4111111111111111\n", "2=200"},
	})
	t.Run("numbered columns", func(t *testing.T) {
		p := smallProfile(t, `"1"`, `"2"`, "format: csv;csv: {header: no}")
		if got, want := outline(p, strings.NewReader("1,2\n2\n3,4,5\n")), "1=200|2 2 missing_field|3=400"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestJSONLines(t *testing.T) {
	runOutlines(t, "o.id", "o.g", "jsonl", []outlineCase{
		{"plain", "", "{\"o\":{\"id\":1,\"g\":2.5}}\n\n{\"o\":{\"id\":\"2\",\"g\":\"3\"}}", "1=250|3=300"},
		{"broken between", "", "{\"o\":{\"id\":1,\"g\":2}}\n{\"o\":\n{\"o\":{\"id\":2,\"g\":3}}\n", "1=200|2 o not_json|3=300"},
		{"name twice", "", `{"o":{"id":1,"id":2,"g":2}}`, "1 o duplicate_name"},
		{"path twice", "", `{"o":{"id":1,"g":2},"o.id":3}`, "1 o.id duplicate_name"},
		{"null is absent", "", `{"o":{"id":null,"g":2}}`, "1 o.id missing_field"},
		{"forbidden deep down", "", `{"o":{"id":1,"g":2},"x":[{"pin_block":{"a":1}}]}`, "1 x.0.pin_block.a forbidden_field"},
		{"two values", "", `{"o":{"id":1,"g":2}} {}`, "1  not_json"},
		{"too long", "", strings.Repeat(" ", intake.MaxBytes) + "{}\n" + `{"o":{"id":1,"g":2}}`, "1  too_large|2=200"},
		{"too many", "", "[" + strings.Repeat("1,", 1100) + "1]", "1  too_large"},
		{"too deep", "", strings.Repeat("[", 100) + strings.Repeat("]", 100), "~too_large"},
		{"NUL", "", "{\"o\":{\"id\":1,\"g\":2},\"n\":\"a\\u0000\"}", "1 n nul_byte"},
	})
}

func TestJSON(t *testing.T) {
	runOutlines(t, "id", "g", "json", []outlineCase{
		{"array at the top", "", "[\n{\"id\":1,\"g\":2},\n{\"id\":2,\n\"g\":3}]", "2=200|3=300"},
		{"nested", "records: a.b", "{\"x\":[{\"b\":[{}]}],\"a\":{\"c\":1,\"b\":[\n{\"id\":1,\"g\":2}],\"d\":{}}}\n", "2=200"},
		{"every element", "records: a.*.b", "{\"a\":[{\"b\":[{\"id\":1,\"g\":2}]},{},{\"b\":[{\"id\":2,\"g\":3}]}]}", "1=200|1=300"},
		{"every member", "records: \"a.*\"", "{\"a\":{\"x\":[{\"id\":1,\"g\":2}],\"y\":[]}}", "1=200"},
		{"nothing there", "records: a.b", "{\"a\":1}", "~has no place"},
		{"truncated", "", "[{\"id\":1,\"g\":2},\n{\"id\":2", "1=200|FILE :2: the file ends too early: inside of the document"},
		{"broken", "", "[{\"id\":1,\"g\":2},\n{\"id\"}]", "1=200|FILE :2: the text cannot be read: not JSON"},
		{"more after it", "", "[{\"id\":1,\"g\":2}]\n[]", "1=200|FILE :2: the text cannot be read: something follows the document"},
		{"not an object", "", "[1,{\"id\":1,\"g\":2}]", "1  wrong_type|1=200"},
		{"a value too large", "", "[{\"id\":1,\"g\":2},{\"n\":\"" + strings.Repeat("x", 4*intake.MaxBytes) + "\"}]", "1=200|FILE :1: a value of more than 256 KiB"},
		{"a record too large", "", "[{\"n\":\"" + strings.Repeat("x", intake.MaxBytes) + "\"},{\"id\":1,\"g\":2}]", "1  too_large|1=200"},
		{"a large value beside", "records: a", "{\"n\":[" + strings.Repeat("\"xxxxxxxxxxxxxxxx\",", 100_000) + "1],\n\"a\":[{\"id\":1,\"g\":2}]}", "2=200"},
		{"empty", "", "", "FILE : the file is empty"},
		{"bad text", "", "[{\"id\":1,\"g\":2,\"n\":\"\xff\"},{\"id\":1,\"g\":2}]", "1  not_utf8|1=200"},
	})
}

func TestXML(t *testing.T) {
	runOutlines(t, "\"@id\"", "G", "xml", []outlineCase{
		{"plain", "records: /R/L", "<R>\n<L id=\"1\"><G>2.5</G></L>\n<L id='2'>\n<G>3</G></L></R>", "2=250|3=300"},
		{"namespaces and comments", "records: /R/L", "<?xml version=\"1.0\"?><!-- x --><a:R xmlns:a=\"u\"><a:L id=\"1\"><b:G>2</b:G></a:L></a:R>", "1=200"},
		{"not elsewhere", "records: /R/L", "<R><X><L id=\"9\"><G>9</G></L></X><L id=\"1\"><G>2</G></L></R>", "1=200"},
		{"truncated", "records: /R/L", "<R><L id=\"1\"><G>2</G></L>\n<L id=\"2\"><G>", "1=200|FILE :2: the file ends too early: inside of the document"},
		{"broken", "records: /R/L", "<R><L id=\"1\"><G>2</G></L>\n<L id=></L></R>", "1=200|FILE :2: the text cannot be read: not XML"},
		{"not closed", "records: /R/L", "<R><L id=\"1\"><G>2</L></R>", "~an element is closed that was not opened"},
		{"no such element", "records: /A/B/L", "<R></R>", "~there is no element /A/B"},
		{"no records", "records: /R/L", "<R></R>", ""},
		{"other encoding declared", "records: /R/L", "<?xml version=\"1.0\" encoding=\"GBK\"?><R/>", "~the document says gbk, the profile utf-8"},
		{"unknown entity", "records: /R/L", "<R><L id=\"1\"><G>&e;</G></L></R>", "~not XML"},
		{"too large", "records: /R/L", "<R><L id=\"1\"><G>" + strings.Repeat("2", 4*intake.MaxBytes) + "</G></L></R>", "~more than 256 KiB"},
		{"too deep", "records: /R/L", strings.Repeat("<R>", 100), "~nested too deeply"},
		{"repeated", "records: /R/L", "<R><L id=\"1\"><G>2</G><G>3</G></L></R>", "1=200"},
		{"forbidden", "records: /R/L", "<R><L id=\"1\"><G>2</G><Card><Track2>x</Track2></Card></L></R>", "1 Card/Track2 forbidden_field"},
	})
}

func TestEncodings(t *testing.T) {
	const text = "o,g,备注\n1,2,中文\n"
	gbk, err := simplifiedchinese.GBK.NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	big, err := unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewEncoder().String("\uFEFF" + text)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ encoding, text, want string }{
		{"gbk", gbk, "2=200"},
		{"gb18030", gbk, "2=200"},
		{"gb18030", gbk + "2,3,\xff\xff\n3,4,\n", "2=200|3  not_utf8|4=400"},
		{"utf-16", wide, "2=200"},
		{"utf-16le", wide, "2=200"},
		{"utf-16be", big, "2=200"},
		{"utf-16", "\uFEFF" + text, "~begins with the mark of UTF-8"},
		{"utf-8", gbk, "~:1: the text is not in the profile's encoding"},
		{"utf-8", text, "2=200"},
	} {
		p := smallProfile(t, "o", "g", "format: csv;encoding: "+c.encoding)
		got := outline(p, strings.NewReader(c.text))
		if strings.HasPrefix(c.want, "~") && !strings.Contains(got, c.want[1:]) || !strings.HasPrefix(c.want, "~") && got != c.want {
			t.Errorf("%s: got %q, want %q", c.encoding, got, c.want)
		}
	}
}

// An amount in line 70,001 that cannot be read costs that record alone.
func TestManyLines(t *testing.T) {
	var b strings.Builder
	b.WriteString("o,g\n")
	for line := 2; line <= 80_000; line++ {
		if line == 70_001 {
			b.WriteString("x,1.2.3\n")
		} else {
			fmt.Fprintf(&b, "%d,1\n", line)
		}
	}
	p := smallProfile(t, "o", "g", "format: csv")
	events, refused := 0, ""
	for r, err := range p.Read("dir/f.csv", strings.NewReader(b.String())) {
		if err != nil {
			t.Fatal(err)
		}
		events += len(r.Events)
		if r.Err != nil {
			refused += fmt.Sprintf("%s:%d: %v", r.File, r.Line, r.Err)
		}
	}
	if want := "dir/f.csv:70001: decode g: bad_text: not an amount in the profile's format"; events != 79_998 || refused != want {
		t.Errorf("%d events, refused %q", events, refused)
	}
}

type failing struct{}

var errDisk = errors.New("disk on fire")

func (failing) Read([]byte) (int, error) { return 0, errDisk }

func TestReaderFails(t *testing.T) {
	for _, c := range []struct{ format, text string }{
		{"csv", "o,g\n1,2\n"},
		{"jsonl", "{\"o\":1,\"g\":2}\n"},
		{"json", "[{\"o\":1,\"g\":2},"},
		{"xml;records: /R/L", "<R><L><o>1</o><g>2</g></L> "},
	} {
		p := smallProfile(t, "o", "g", "format: "+c.format)
		events := 0
		var last error
		for r, err := range p.Read("f", io.MultiReader(strings.NewReader(c.text), failing{})) {
			events += len(r.Events)
			last = err
		}
		var file *profile.FileError
		if !errors.Is(last, errDisk) || !errors.As(last, &file) || file.File != "f" || events != 1 {
			t.Errorf("%s: %d events, %v", c.format, events, last)
		}
		if got := outline(p, failing{}); !strings.Contains(got, "disk on fire") {
			t.Errorf("%s: %s", c.format, got)
		}
	}
}

func TestNameAndBreak(t *testing.T) {
	p := load(t, "lotus-bank.yaml")
	if p.Matches("other.csv") || !p.Matches("/x/lotus_settle_1.csv") || p.String() != "lotus-bank@1" {
		t.Error("wrong names")
	}
	if got := show(t, p, "other.csv", nil); !strings.Contains(got, "no file pattern") {
		t.Error(got)
	}
	// The date is part of the name.
	if got := show(t, p, "lotus_settle_x.csv", []byte("x")); !strings.Contains(got, "file_date") {
		t.Error(got)
	}
	q := smallProfile(t, "o", "g", "format: csv")
	for r, err := range q.Read("f", strings.NewReader("o,g\n1,2\n2,3\n")) {
		if err != nil || r.Line != 2 {
			t.Errorf("line %d, %v", r.Line, err)
		}
		break
	}
}

// What stands beside the records of one batch says nothing of the next batch's.
func TestOutsideOfRecords(t *testing.T) {
	for _, c := range []struct{ order, amount, keys, text string }{
		{"/a.*.o", "g", "format: json;records: a.*.b", `{"a":[{"o":"x","b":[{"g":1}]},{"b":[{"g":2}]},{"o":"y","b":[{"g":3}]}]}`},
		{"/R/A/@o", "G", "format: xml;records: /R/A/L", `<R><A o="x"><L><G>1</G></L></A><A><L><G>2</G></L></A><A o="y"><L><G>3</G></L></A></R>`},
		{"/R/A/O", "G", "format: xml;records: /R/A/L", `<R><A><O>x</O><L><G>1</G></L></A><A><L><G>2</G></L></A><A><O>y</O><L><G>3</G></L></A></R>`},
	} {
		p := smallProfile(t, c.order, c.amount, c.keys)
		if got, want := outline(p, strings.NewReader(c.text)), "1=100|1 "+c.order+" missing_field|1=300"; got != want {
			t.Errorf("%s: got %q, want %q", c.order, got, want)
		}
	}
}
