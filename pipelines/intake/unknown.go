package intake

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// nestedReader looks through values that no table describes.
type nestedReader struct {
	scanner scanner
	input   bytes.Buffer
	json    *jsontext.Decoder
	memory  []byte
}

// search looks for secrets in a text.
func (n *nestedReader) search(text []byte) (Reason, string) {
	findings := n.scanner.scan(text)
	switch {
	case len(findings) == 0:
		return "", ""
	case findings[0].kind == secretTrack:
		return ReasonTrackData, "track data"
	default:
		return ReasonCardNumber, "a card number outside of card_number"
	}
}

// inspect holds a field that has no shape of its own, or has not kept it, to
// what may never be in a record: forbidden names at any depth, card numbers and
// track data in names and values, NUL. The values of identifiers are not searched.
func (n *nestedReader) inspect(name, value []byte, identifier bool) *DecodeError {
	if err := n.inspectName(name, "", knownCard(name)); err != nil {
		return err
	}
	switch value[0] {
	case '{', '[':
		return n.inspectInside(name, value)
	}
	if identifier {
		return nil
	}
	if reason, detail := n.inspectScalar(value); reason != "" {
		return fail(safePath(string(jsontext.Pointer("").AppendToken(string(name)))), reason, detail)
	}
	return nil
}

// knownCard tells whether the name is card_number itself, which at the top is no
// stranger; its spelling variants and deeper ones are.
func knownCard(name []byte) bool { return string(name) == fields[fCardNumber].name }

func (n *nestedReader) inspectName(name []byte, parent jsontext.Pointer, mayBeCard bool) *DecodeError {
	reason, detail := Reason(""), ""
	switch rule := ruleOfName(name); {
	case rule == nameForbidden:
		reason, detail = ReasonForbiddenField, "the field may never be stored"
	case rule == nameCard && !mayBeCard:
		reason, detail = ReasonCardNumber, "card numbers belong in card_number"
	case bytes.IndexByte(name, 0) >= 0:
		reason, detail = ReasonNULByte, "a NUL character in a name"
	default:
		reason, detail = n.search(name)
	}
	if reason == "" {
		return nil
	}
	return fail(safePath(string(parent.AppendToken(string(name)))), reason, detail)
}

func (n *nestedReader) inspectScalar(value []byte) (Reason, string) {
	switch value[0] {
	case '"':
		n.memory = unquote(n.memory[:0], value)
		if bytes.IndexByte(n.memory, 0) >= 0 {
			return ReasonNULByte, "a NUL character"
		}
		return n.search(n.memory)
	case 't', 'f', 'n':
		return "", ""
	default:
		return n.search(value)
	}
}

// inspectInside walks an object or array. It has been read as valid JSON before.
func (n *nestedReader) inspectInside(name, value []byte) *DecodeError {
	n.input = *bytes.NewBuffer(value)
	if n.json == nil {
		n.json = jsontext.NewDecoder(&n.input)
	} else {
		n.json.Reset(&n.input)
	}
	top := jsontext.Pointer("").AppendToken(string(name))
	for {
		switch n.json.PeekKind() {
		case '{', '[', '}', ']':
			if _, err := n.json.ReadToken(); err != nil || n.json.StackDepth() == 0 {
				return n.invalid(err, top)
			}
			continue
		}
		isName := expectsName(n.json)
		scalar, err := n.json.ReadValue()
		if err != nil {
			return n.invalid(err, top)
		}
		if isName {
			n.memory = unquote(n.memory[:0], scalar)
			// The pointer of a name that has just been read is the member's own.
			parent := top + n.json.StackPointer().Parent()
			if err := n.inspectName(n.memory, parent, false); err != nil {
				return err
			}
			continue
		}
		if reason, detail := n.inspectScalar(scalar); reason != "" {
			return fail(safePath(string(top+n.json.StackPointer())), reason, detail)
		}
	}
}

// invalid is nil at the end of a value. Values that are not JSON do not come
// here; should one, it must not pass unseen.
func (n *nestedReader) invalid(err error, at jsontext.Pointer) *DecodeError {
	if err == nil {
		return nil
	}
	return fail(safePath(string(at)), ReasonNotJSON, "not JSON")
}

// expectsName tells whether the next string is a member's name.
func expectsName(d *jsontext.Decoder) bool {
	kind, length := d.StackIndex(d.StackDepth())
	return kind == '{' && length%2 == 0
}

// holds tells whether a text or the JSON value's texts contain the digits.
func (n *nestedReader) holds(value, digits []byte) bool {
	n.input = *bytes.NewBuffer(value)
	d := jsontext.NewDecoder(&n.input)
	for {
		token, err := d.ReadToken()
		if err != nil {
			return false
		}
		switch token.Kind() {
		case '"', '0':
			if bytes.Contains([]byte(token.String()), digits) {
				return true
			}
		}
	}
}
