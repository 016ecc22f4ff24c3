package servers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"settlewatch/pipelines/servers/process"
)

// ClickHouseOptions configure ClickHouse.
type ClickHouseOptions struct {
	Options
	// NativePort and HTTPPort to listen on. 0 chooses free ones.
	NativePort, HTTPPort int
	// MemoryBytesMax bounds the whole server. Defaults to 2 GiB; without a bound it
	// takes nine tenths of the machine.
	MemoryBytesMax int64
	// Username and Password of one more user, who may do everything; the user default
	// may then only read. Empty is no such user.
	Username, Password string
}

// ClickHouse is a ClickHouse server with its data in its folder.
//
// It is ClickHouse's local mode with listeners, the same whether the program is a
// binary on PATH or the library from npm. Two traps come with that mode. A native
// connection that fails its handshake (an unknown database in the DSN, an unknown
// user, a wrong password) ends the whole server: connect to the database "default",
// CREATE DATABASE IF NOT EXISTS, and use qualified names. And there is no CREATE USER,
// no TLS, no system.query_log.
type ClickHouse struct {
	Server
	http    string
	version string
}

const (
	clickHouseGrace     = 20 * time.Second
	clickHouseMemoryMax = 2 << 30
	// clickHouseMajorMin.clickHouseMinorMin is the oldest version taken from PATH: the
	// first that has all settings of the tables (schemas/table/migrations).
	clickHouseMajorMin, clickHouseMinorMin = 25, 12
)

// clickHouseServe opens the listeners, which local mode leaves closed, and then
// serves until standard input ends.
const clickHouseServe = "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; " +
	"SELECT * FROM file('/dev/stdin', 'LineAsString') FORMAT Null"

// StartClickHouse starts ClickHouse and returns when it answers over HTTP. The
// program is `clickhouse` on PATH if it is recent enough, else the library from
// npm, which is fetched once into the user's cache.
func StartClickHouse(ctx context.Context, o ClickHouseOptions) (*ClickHouse, error) {
	folder, err := takeFolder(ctx, o.Options)
	if err != nil {
		return nil, fmt.Errorf("start clickhouse: %w", err)
	}
	defer folder.release()
	native, err := choosePort(o.NativePort)
	if err != nil {
		return nil, fmt.Errorf("start clickhouse: %w", err)
	}
	httpPort, err := choosePort(o.HTTPPort)
	if err != nil {
		return nil, fmt.Errorf("start clickhouse: %w", err)
	}
	config, err := writeClickHouseConfig(folder.dir, o)
	if err != nil {
		return nil, fmt.Errorf("start clickhouse: %w", err)
	}
	args := []string{
		"--config-file=" + config,
		"--path=" + filepath.Join(folder.dir, "data"),
		"--listen_host=" + loopback,
		"--tcp_port=" + strconv.Itoa(native),
		"--http_port=" + strconv.Itoa(httpPort),
		"--query", clickHouseServe,
	}
	command, err := clickHouseCommand(ctx, o.Options, args)
	if err != nil {
		return nil, fmt.Errorf("start clickhouse: %w", err)
	}
	// The time zone decides how dates print and which day a time falls on. Local mode
	// takes it from here only.
	command.Env = append(os.Environ(), "TZ=UTC")
	c := &ClickHouse{http: address(httpPort)}
	p, err := launch(ctx, "clickhouse on "+address(native), folder, command, o.Log,
		func(ctx context.Context) error {
			version, err := httpGet(ctx, "http://"+c.http+"/?query=SELECT+version()")
			if err != nil {
				return err
			}
			c.version = version
			return dial(ctx, address(native))
		})
	if err != nil {
		return nil, err
	}
	c.Server = &child{Process: p, addr: address(native), grace: clickHouseGrace}
	return c, nil
}

// HTTPAddr is the address of the HTTP interface, "127.0.0.1:port". Addr is the
// native one's.
func (c *ClickHouse) HTTPAddr() string { return c.http }

// DSN is what clickhouse-go connects with.
func (c *ClickHouse) DSN() string { return "clickhouse://" + c.Addr() + "/default" }

// Version of the server, such as 26.7.3.1.
func (c *ClickHouse) Version() string { return c.version }

// writeClickHouseConfig writes what has no command line option.
func writeClickHouseConfig(dir string, o ClickHouseOptions) (string, error) {
	memory := o.MemoryBytesMax
	if memory <= 0 {
		memory = clickHouseMemoryMax
	}
	users := ""
	if o.Username != "" {
		path := filepath.Join(dir, "users.xml")
		if err := os.WriteFile(path, []byte(clickHouseUsers(o.Username, o.Password)), 0o600); err != nil {
			return "", fmt.Errorf("write users: %w", err)
		}
		users = "  <users_config>" + path + "</users_config>\n"
	}
	path := filepath.Join(dir, "config.xml")
	text := fmt.Sprintf("<clickhouse>\n  <max_server_memory_usage>%d</max_server_memory_usage>\n%s</clickhouse>\n", memory, users)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	return path, nil
}

// clickHouseUsers: the server itself is started by the user default, who therefore
// cannot be without rights, and may open the listeners.
func clickHouseUsers(name, password string) string {
	return fmt.Sprintf(`<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password/>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants><query>GRANT SELECT, SYSTEM, READ, CREATE TEMPORARY TABLE ON *.*</query></grants>
    </default>
    <%[1]s>
      <password_sha256_hex>%[2]x</password_sha256_hex>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants><query>GRANT ALL ON *.*</query></grants>
    </%[1]s>
  </users>
</clickhouse>
`, name, sha256.Sum256([]byte(password)))
}

// clickHouseCommand chooses the program.
func clickHouseCommand(ctx context.Context, o Options, args []string) (process.Command, error) {
	binary, err := exec.LookPath("clickhouse")
	if err == nil {
		var version string
		if version, err = clickHouseVersion(ctx, binary); err == nil {
			if clickHouseRecent(version) {
				return process.Command{Path: binary, Args: append([]string{"local"}, args...), HoldStdin: true}, nil
			}
			err = fmt.Errorf("%s is version %s, which is older than %d.%d", binary, version, clickHouseMajorMin, clickHouseMinorMin)
		}
	}
	command, fetchErr := chdbCommand(ctx, o, args)
	if fetchErr != nil {
		// Why the binary was not used matters only if there is nothing else.
		return process.Command{}, fmt.Errorf("%w (and %w)", fetchErr, err)
	}
	return command, nil
}

func clickHouseVersion(ctx context.Context, binary string) (string, error) {
	tail := process.NewTail(nil)
	if err := process.Run(ctx, process.Command{Path: binary, Args: []string{"local", "--version"}, Output: tail}); err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", binary, err)
	}
	for word := range strings.FieldsSeq(tail.Last(1)) {
		if strings.Count(word, ".") >= 2 {
			return strings.TrimRight(word, "."), nil
		}
	}
	return "", fmt.Errorf("ask %s for its version: cannot read %q", binary, tail.Last(1))
}

// clickHouseRecent says whether a version such as 25.12.1.3 is recent enough.
func clickHouseRecent(version string) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	if err1 != nil || err2 != nil {
		return false
	}
	return major > clickHouseMajorMin || major == clickHouseMajorMin && minor >= clickHouseMinorMin
}

// httpGet returns the body of an answer with status 200, trimmed.
func httpGet(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	// A connection that stays open is one that the server waits for at its end, five
	// seconds long.
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", errors.New(response.Status + ": " + strings.TrimSpace(string(body)))
	}
	return strings.TrimSpace(string(body)), nil
}
