package boot

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// reader lays flags, environment and file over each other and collects mistakes.
type reader struct {
	k        *koanf.Koanf
	file     *koanf.Koanf
	path     string // of the file; empty without one
	flags    *pflag.FlagSet
	mistakes []error
}

// origin is the place that a setting's value comes from.
type origin int

const (
	fromDefault origin = iota
	fromFile
	fromEnvironment
	fromFlag
)

func newReader(flags *pflag.FlagSet) *reader {
	r := &reader{k: koanf.New("\x00"), file: koanf.New("\x00"), flags: flags}
	r.path, _ = flags.GetString("config")
	if r.path == "" {
		r.path = os.Getenv(envPrefix + "CONFIG")
	}
	if r.path != "" {
		if err := r.file.Load(file.Provider(r.path), yaml.Parser()); err != nil {
			r.mistake(fmt.Errorf("config: read settings from %s: %w", r.path, err))
		}
	}
	r.checkFile()
	r.checkEnvironment()
	r.mistake(r.k.Merge(r.file))
	r.mistake(r.k.Load(env.Provider("\x00", env.Opt{Prefix: envPrefix, TransformFunc: func(variable, value string) (string, any) {
		if value == "" {
			return "", nil // an empty variable says nothing
		}
		return nameOf(variable), value
	}}), nil))
	return r
}

func nameOf(variable string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(variable, envPrefix)), "_", "-")
}

func (r *reader) mistake(err error) {
	if err != nil {
		r.mistakes = append(r.mistakes, err)
	}
}

// wrong notes a mistake and says where the value comes from.
func (r *reader) wrong(name, format string, args ...any) {
	r.mistake(fmt.Errorf("%s%s: %w", name, r.from(name), fmt.Errorf(format, args...)))
}

func (r *reader) origin(name string) origin {
	switch s, _ := lookup(name); {
	case r.flags.Changed(name):
		return fromFlag
	case os.Getenv(s.env()) != "":
		return fromEnvironment
	case r.file.Exists(name):
		return fromFile
	default:
		return fromDefault
	}
}

func (r *reader) from(name string) string {
	switch s, _ := lookup(name); r.origin(name) {
	case fromFile:
		return " (in " + r.path + ")"
	case fromEnvironment:
		return " (" + s.env() + ")"
	case fromFlag:
		return " (--" + name + ")"
	case fromDefault:
	}
	return ""
}

// checkFile refuses keys that no service has, and secrets: a file of settings is
// copied and committed.
func (r *reader) checkFile() {
	for _, key := range slices.Sorted(slices.Values(r.file.Keys())) {
		key = strings.ReplaceAll(key, "\x00", ".")
		switch s, known := lookup(key); {
		case !known:
			r.mistake(fmt.Errorf("%s (in %s): no such setting%s", key, r.path, meant(key, func(s setting) string { return s.name })))
		case s.form == formSecret:
			r.mistake(fmt.Errorf("%s (in %s): a secret does not belong there: use %s, or %s in the environment",
				key, r.path, key+fileSuffix, s.env()))
		case s.name == "config":
			r.mistake(fmt.Errorf("config (in %s): a file cannot name another", r.path))
		}
	}
}

// otherVariables belong to the tools and scripts.
var otherVariables = []string{"CACHE", "BIN", "CI", "INSTALL"}

// kubernetesVariable are those that a cluster sets for each of its services, such
// as SETTLEWATCH_JOINER_PORT_8084_TCP_ADDR for one called settlewatch-joiner.
var kubernetesVariable = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

func (r *reader) checkEnvironment() {
	for _, entry := range slices.Sorted(slices.Values(os.Environ())) {
		variable, _, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(variable, envPrefix)
		if !ours || slices.Contains(otherVariables, rest) || kubernetesVariable.MatchString(variable) {
			continue
		}
		if _, known := lookup(nameOf(variable)); !known {
			r.mistake(fmt.Errorf("%s: no such variable%s", variable, meant(variable, setting.env)))
		}
	}
}

// text of a setting. A number or a truth value, which YAML makes of unquoted
// text, is taken as it stands.
func (r *reader) text(name string) string {
	switch v := r.k.Get(name).(type) {
	case nil:
		return ""
	case string:
		return strings.TrimSpace(v)
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v)
	default:
		r.wrong(name, "want one value")
		return ""
	}
}

// list of a setting: a YAML list, or text with commas.
func (r *reader) list(name string) []string {
	var parts []string
	switch v := r.k.Get(name).(type) {
	case []string:
		parts = v
	case []any:
		for _, part := range v {
			parts = append(parts, fmt.Sprint(part))
		}
	default:
		parts = strings.Split(r.text(name), ",")
	}
	var out []string
	for _, part := range parts {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func (r *reader) yes(name string) bool {
	v, err := strconv.ParseBool(r.text(name))
	if err != nil {
		r.wrong(name, "%q: use true or false", r.text(name))
	}
	return v
}

func (r *reader) duration(name string) time.Duration {
	v := r.signedDuration(name)
	if v < 0 {
		r.wrong(name, "%q: it cannot be negative", r.text(name))
	}
	return v
}

func (r *reader) signedDuration(name string) time.Duration {
	v, err := time.ParseDuration(r.text(name))
	if err != nil {
		r.wrong(name, "%q: use a duration with its unit, such as 500ms, 30s or 2m", r.text(name))
	}
	return v
}

func (r *reader) number(name string) int64 {
	v, err := strconv.ParseInt(r.text(name), 10, 64)
	if err != nil {
		r.wrong(name, "%q: use a number", r.text(name))
	} else if v < 0 {
		r.wrong(name, "%q: it cannot be negative", r.text(name))
	}
	return v
}

// secret of a setting: from its file or its variable; not from both, as nobody
// would know which of the two is in force after a change.
func (r *reader) secret(name string) Secret {
	s, _ := lookup(name)
	inEnvironment := os.Getenv(s.env())
	path := r.text(name + fileSuffix)
	if path == "" {
		return NewSecret(inEnvironment)
	}
	if inEnvironment != "" {
		r.wrong(name, "%s%s is given too: use one of them", name+fileSuffix, r.from(name+fileSuffix))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		r.wrong(name+fileSuffix, "%w", err)
		return Secret{}
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		r.wrong(name+fileSuffix, "%s is empty", path)
	}
	return NewSecret(text)
}

func (r *reader) addresses(name string) []string {
	list := r.list(name)
	if len(list) == 0 {
		r.wrong(name, "no address given")
	}
	for _, a := range list {
		r.address(name, a, false)
	}
	return list
}

// address checks host:port; a listener's host may be empty and its port 0.
func (r *reader) address(name, address string, listener bool) {
	host, port, err := net.SplitHostPort(address)
	n, numberErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numberErr != nil || (!listener && (n == 0 || host == "")) {
		r.wrong(name, "%q is not host:port", address)
	}
}

// tls of one server, nil for plain text.
func (r *reader) tls(server string) *tls.Config {
	name := server + "-tls"
	on := r.yes(name)
	if !on {
		for _, part := range tlsSettings(server, 0)[1:] {
			if r.text(part.name) != "" {
				r.wrong(part.name, "it does nothing without %s", name)
			}
		}
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.text(name + "-server-name")}
	if path := r.text(name + "-ca-file"); path != "" {
		pem, err := os.ReadFile(path)
		c.RootCAs = x509.NewCertPool()
		switch {
		case err != nil:
			r.wrong(name+"-ca-file", "%w", err)
		case !c.RootCAs.AppendCertsFromPEM(pem):
			r.wrong(name+"-ca-file", "%s holds no certificate in PEM form", path)
		}
	}
	cert, key := r.text(name+"-cert-file"), r.text(name+"-key-file")
	switch {
	case cert == "" && key == "":
	case cert == "" || key == "":
		r.wrong(name+"-cert-file and "+name+"-key-file", "one is given without the other")
	default:
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			r.wrong(name+"-cert-file and "+name+"-key-file", "%w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// meant suggests the setting whose spelling is nearest.
func meant(typed string, spell func(setting) string) string {
	best, least := "", max(3, len(typed)/4)
	for _, s := range settings {
		if d := distance(strings.ReplaceAll(typed, ".", "-"), spell(s)); d < least {
			best, least = spell(s), d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance counts the letters to insert, remove or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

var errNoFlag = errors.New("no such flag")

// flagMistake is cobra's error about the command line, with a suggestion.
func flagMistake(err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		typed := unknown.GetSpecifiedName()
		return fmt.Errorf("--%s: %w%s", typed, errNoFlag, meant(typed, func(s setting) string { return s.name }))
	}
	return err
}
