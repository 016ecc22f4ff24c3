package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"settlewatch/pipelines/servers/process"
)

// KafkaOptions configure Apache Kafka.
type KafkaOptions struct {
	Options
	// Port for clients, ControllerPort for the broker's own controller. 0 chooses
	// free ones.
	Port, ControllerPort int
	// Heap is the JVM's largest heap, such as "512m". Defaults to 512m.
	Heap string
	// GroupMinSession is the shortest session a consumer group may ask for. Defaults
	// to 6s, like Kafka's own.
	GroupMinSession time.Duration
	// Properties are added to the broker's or replace them, listeners included.
	Properties map[string]string
	// FormatArgs are added when the folder is formatted, such as --add-scram.
	FormatArgs []string
	// JavaArgs are added to the JVM's.
	JavaArgs []string
}

// Kafka is a single Apache Kafka broker with its own controller (KRaft).
type Kafka struct{ Server }

// Version of the broker, such as 4.1.0.
func (*Kafka) Version() string { return kafkaVersion }

const (
	kafkaVersion = "4.1.0"
	kafkaGrace   = 20 * time.Second
	kafkaHeap    = "512m"
	// kafkaClusterID is 16 bytes in base64, as the broker wants it.
	kafkaClusterID = "c2V0dGxld2F0Y2hrYWZrYQ"
	// kafkaStarted is the line after which the broker answers.
	kafkaStarted = "Kafka Server started"
)

// kafkaFetched are the broker's libraries.
var kafkaFetched = fetched{
	name:       "kafka-" + kafkaVersion,
	what:       "Apache Kafka " + kafkaVersion + " from Maven Central (44 MB)",
	bytesTotal: 44_168_015,
	fetch:      fetchKafka,
}

// kafkaProject names the broker, and a binding for its logging interface of the same
// version: without one its log is empty.
const kafkaProject = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>settlewatch</groupId>
  <artifactId>broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>` + kafkaVersion + `</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
`

// StartKafka starts Apache Kafka and returns when it has started and accepts
// connections. Its libraries are fetched by Maven once into the user's cache. The
// first coordinator requests may still be refused for a moment: clients retry.
func StartKafka(ctx context.Context, o KafkaOptions) (*Kafka, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, errors.New("java is not on PATH: install Java 17 or later (Debian and Ubuntu: apt-get install default-jre-headless)")
	}
	folder, err := takeFolder(ctx, o.Options)
	if err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	defer folder.release()
	o.Dir = folder.dir
	if o.Port, err = choosePort(o.Port); err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	if o.ControllerPort, err = choosePort(o.ControllerPort); err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	libraries, err := kafkaFetched.ensure(ctx, o.Progress)
	if err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	classes := filepath.Join(libraries, "libs", "*")
	properties, err := writeKafkaProperties(o)
	if err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	if err := formatKafka(ctx, java, classes, properties, o); err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}

	addr := address(o.Port)
	started := &spotter{next: o.Log, want: []byte(kafkaStarted)}
	p, err := launch(ctx, "kafka on "+addr, folder, process.Command{
		Path: java, Args: append(kafkaJavaArgs(o, classes), "kafka.Kafka", properties),
	}, started, func(ctx context.Context) error {
		if !started.seen.Load() {
			return errors.New("has not logged " + strconv.Quote(kafkaStarted))
		}
		return dial(ctx, addr)
	})
	if err != nil {
		return nil, err
	}
	return &Kafka{Server: &child{Process: p, addr: addr, grace: kafkaGrace}}, nil
}

func kafkaJavaArgs(o KafkaOptions, classes string) []string {
	heap := o.Heap
	if heap == "" {
		heap = kafkaHeap
	}
	args := []string{
		"-Xmx" + heap,
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
		// The configuration's several hundred lines say nothing here.
		"-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
	}
	args = append(args, o.JavaArgs...)
	return append(args, "-cp", classes)
}

// writeKafkaProperties writes the broker's configuration.
func writeKafkaProperties(o KafkaOptions) (string, error) {
	properties := map[string]string{
		"process.roles":             "broker,controller",
		"node.id":                   "1",
		"listeners":                 "PLAINTEXT://" + address(o.Port) + ",CONTROLLER://" + address(o.ControllerPort),
		"advertised.listeners":      "PLAINTEXT://" + address(o.Port),
		"controller.listener.names": "CONTROLLER",
		"controller.quorum.voters":  "1@" + address(o.ControllerPort),
		"log.dirs":                  filepath.Join(o.Dir, "log"),
		// A topic with default settings where one with its own belongs would be found
		// out too late.
		"auto.create.topics.enable": "false",
		// One broker has one replica to give.
		"offsets.topic.replication.factor":                 "1",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		// Fifty partitions each are for large clusters.
		"offsets.topic.num.partitions":         "5",
		"transaction.state.log.num.partitions": "5",
		// No waiting for further members of a group that has just been made.
		"group.initial.rebalance.delay.ms": "0",
		// The default of 128 MB is a quarter of the heap.
		"log.cleaner.dedupe.buffer.size": "33554432",
	}
	if o.GroupMinSession > 0 {
		properties["group.min.session.timeout.ms"] = strconv.FormatInt(o.GroupMinSession.Milliseconds(), 10)
	}
	maps.Copy(properties, o.Properties)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&text, "%s=%s\n", name, properties[name])
	}
	path := filepath.Join(o.Dir, "server.properties")
	// Properties may hold passwords.
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	return path, nil
}

// formatKafka prepares an empty folder; a folder that was used before is left as it
// is.
func formatKafka(ctx context.Context, java, classes, properties string, o KafkaOptions) error {
	if _, err := os.Stat(filepath.Join(o.Dir, "log", "meta.properties")); err == nil {
		return nil
	}
	tail := process.NewTail(nil)
	args := []string{
		"-XX:TieredStopAtLevel=1", "-cp", classes, "kafka.tools.StorageTool", "format",
		"--cluster-id", kafkaClusterID, "--config", properties,
	}
	if err := process.Run(ctx, process.Command{Path: java, Args: append(args, o.FormatArgs...), Output: tail}); err != nil {
		if said := tail.Last(errorLines); strings.Contains(said, "UnsupportedClassVersionError") {
			return fmt.Errorf("%s is too old: install Java 17 or later", java)
		}
		return fmt.Errorf("format folder: %w; it said last:\n%s", err, tail.Last(errorLines))
	}
	return nil
}

// fetchKafka has Maven copy the broker and what it depends on into dir/libs.
func fetchKafka(ctx context.Context, dir string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return errors.New("mvn is not on PATH: install Maven (Debian and Ubuntu: apt-get install maven)")
	}
	project := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(project, []byte(kafkaProject), 0o644); err != nil {
		return fmt.Errorf("write Maven project: %w", err)
	}
	tail := process.NewTail(nil)
	if err := process.Run(ctx, process.Command{
		Path: mvn,
		Args: []string{
			"--quiet", "--batch-mode", "--file", project,
			"dependency:copy-dependencies", "-DoutputDirectory=" + filepath.Join(dir, "libs"),
		},
		Output: tail,
	}); err != nil {
		return fmt.Errorf("mvn dependency:copy-dependencies: %w; it said last:\n%s", err, tail.Last(errorLines))
	}
	return nil
}

// spotter passes output on and notices when a text has come by.
type spotter struct {
	next io.Writer
	want []byte
	seen atomic.Bool
	// carry is the end of what came before: a text may come in two parts.
	carry []byte
}

// Write never fails.
func (s *spotter) Write(b []byte) (int, error) {
	if s.next != nil {
		_, _ = s.next.Write(b)
	}
	if !s.seen.Load() {
		s.carry = append(s.carry, b...)
		if bytes.Contains(s.carry, s.want) {
			s.seen.Store(true)
		}
		if extra := len(s.carry) - len(s.want); extra > 0 {
			s.carry = append(s.carry[:0], s.carry[extra:]...)
		}
	}
	return len(b), nil
}
