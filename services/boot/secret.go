package boot

import "log/slog"

// Secret is a password or what holds one. However it is printed, logged or
// encoded, its text does not come out; only Reveal gives it.
type Secret struct{ text string }

// NewSecret hides text.
func NewSecret(text string) Secret { return Secret{text: text} }

// Reveal is the text itself, for the client library that needs it.
func (s Secret) Reveal() string { return s.text }

// IsEmpty tells whether nothing was given.
func (s Secret) IsEmpty() bool { return s.text == "" }

const redacted = "[redacted]"

// String never holds the text; an empty secret is seen to be empty.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return redacted
}

// GoString is what %#v prints.
func (s Secret) GoString() string { return "boot.Secret(" + s.String() + ")" }

// LogValue is what slog prints.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is what JSON and YAML print.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
