package bench

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/process"
	"settlewatch/schemas/topic"
)

// Variants of the peers.
const (
	VariantStreams       = "streams-alos"
	VariantStreamsExact  = "streams-eos"
	VariantFlinkRocksDB  = "flink-rocksdb"
	VariantFlinkHashmap  = "flink-hashmap"
	peerPartitions       = 4
	peerGrace            = 30 * time.Second
	peerFirstRecord      = "first record"
	peerLogLevel         = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
	peerStreamsMain      = "settlewatch.peers.StreamsJoin"
	peerFlinkMain        = "settlewatch.peers.FlinkJoin"
	peerHeapMin          = "-Xms512m"
	peerHeapMax          = "-Xmx2g"
	mavenLines           = 20
	peerStateFolder      = "state"
	peerThreadsPerMember = "2"
	// mavenSeconds is about what Maven takes where nothing is cached.
	mavenSeconds = 180
)

// peer is one variant of the same join on another engine.
type peer struct {
	variant string
	module  string
	main    string
	// java are arguments of the JVM, args those of the job.
	java, args []string
}

// flinkOpens lets Flink's serializers look into collections.
var flinkOpens = []string{
	"--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
	"--add-opens=java.base/java.time=ALL-UNNAMED",
}

var peers = []peer{
	{VariantStreams, "streams", peerStreamsMain, nil, []string{"--guarantee", "at_least_once"}},
	{VariantStreamsExact, "streams", peerStreamsMain, nil, []string{"--guarantee", "exactly_once_v2"}},
	{VariantFlinkRocksDB, "flink", peerFlinkMain, flinkOpens, []string{"--backend", "rocksdb"}},
	{VariantFlinkHashmap, "flink", peerFlinkMain, flinkOpens, []string{"--backend", "hashmap"}},
}

// PeerVariants are the names of all peers.
func PeerVariants() []string {
	names := make([]string, 0, len(peers))
	for _, p := range peers {
		names = append(names, p.variant)
	}
	return names
}

//go:embed peers/pom.xml peers/*/pom.xml peers/*/src
var peerSources embed.FS

// peerBuilt is written when a build is complete.
const peerBuilt = "built"

// BuildPeers builds the peers into the user's cache; Maven fetches what they need,
// some 200 MB the first time.
func (b *Bench) BuildPeers(ctx context.Context) error {
	folder, err := peerFolder()
	if err != nil {
		return fmt.Errorf("build peers: %w", err)
	}
	b.peers = folder
	if _, err := os.Stat(filepath.Join(folder, peerBuilt)); err == nil {
		return nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return errors.New("build peers: mvn is not on PATH: install Maven (Debian and Ubuntu: apt-get install maven), or measure settlewatch alone with --variants settlewatch")
	}
	if err := errors.Join(os.RemoveAll(folder), writePeers(folder)); err != nil {
		return fmt.Errorf("build peers: %w", err)
	}
	b.options.Say("building the peers with Maven (several minutes where nothing is cached)")
	if err := b.runMaven(ctx, mvn, filepath.Join(folder, "peers")); err != nil {
		return fmt.Errorf("build peers: %w", err)
	}
	return os.WriteFile(filepath.Join(folder, peerBuilt), nil, 0o644)
}

// peerFolder is named after the sources, so that changed ones are built anew.
func peerFolder() (string, error) {
	cache, err := servers.CacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	err = fs.WalkDir(peerSources, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := peerSources.ReadFile(path)
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text) // a hash takes everything
		return err
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, fmt.Sprintf("bench-peers-%x", sum.Sum(nil)[:6])), nil
}

func writePeers(folder string) error {
	return fs.WalkDir(peerSources, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(folder, filepath.FromSlash(path))
		if entry.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		text, err := peerSources.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	})
}

// runMaven shows that it runs: Maven is silent without a terminal.
func (b *Bench) runMaven(ctx context.Context, mvn, folder string) error {
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	done := make(chan error, 1)
	tail := process.NewTail(nil)
	go func() {
		done <- process.Run(ctx, process.Command{
			Path: mvn, Args: []string{"--quiet", "--batch-mode", "package"}, Dir: folder, Output: tail,
		})
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%w; Maven said last:\n%s", err, tail.Last(mavenLines))
			}
			return nil
		case <-tick.C:
			b.options.Progress("seconds of Maven", int64(time.Since(began).Seconds()), mavenSeconds)
		}
	}
}

// RunPeer measures one of the peers on the log that Feed has filled.
func (b *Bench) RunPeer(ctx context.Context, w Workload, variant string, round int, limit time.Duration) (Result, error) {
	for _, p := range peers {
		if p.variant == variant {
			r, err := b.runPeer(ctx, w, p, round, limit)
			if err != nil {
				return r, fmt.Errorf("run %s: %w", variant, err)
			}
			return r, nil
		}
	}
	return Result{}, fmt.Errorf("no peer is called %q: there are %s", variant, strings.Join(PeerVariants(), ", "))
}

func (b *Bench) runPeer(ctx context.Context, w Workload, p peer, round int, limit time.Duration) (r Result, err error) {
	out := topic.Topic{Name: "bench.alerts." + p.variant, Partitions: peerPartitions, RetentionMs: topic.RetainAll}
	if err := makeAnew(ctx, b.bus, []topic.Topic{out}); err != nil {
		return r, err
	}
	state := filepath.Join(b.options.Dir, peerStateFolder)
	application := fmt.Sprintf("bench-%s-%d", p.variant, time.Now().UnixMilli())
	pids := harness()
	pids[brokerName] = b.kafka.Pid()
	watch := newStopwatch(pids)
	job, err := b.startPeer(p, watch, state, append([]string{
		"--bootstrap", b.kafka.Addr(), "--inputs", strings.Join(inputNames(), ","), "--output", out.Name,
		"--application", application, "--state-dir", state, "--threads", peerThreadsPerMember,
	}, p.args...))
	if err != nil {
		return r, err
	}
	defer func() {
		err = errors.Join(err, job.Stop(peerGrace), os.RemoveAll(state), b.bus.RemoveTopics(ctx, []string{
			out.Name, application + "-payments-changelog", application + "-timers-changelog",
		}))
	}()
	watch.pids[jobName] = job.Pid()
	eyes := newWatcher(peerOutput(out.Name), w.Truth(), watch.end)
	err = forgetPeak(b.kafka.Pid())
	if err == nil {
		err = b.run(ctx, race{watch: watch, eyes: eyes, processes: map[string]*process.Process{jobName: job}, limit: limit})
	}
	if err != nil && !errors.Is(err, errTooSlow) {
		return r, err
	}
	if err != nil {
		watch.end()
	}
	r = watch.result(p.variant, w)
	r.Round = round
	r.Notes, r.Alerts, r.Repeated = eyes.verdict()
	r.Exact = len(r.Notes) == 0
	return r, nil
}

func (b *Bench) startPeer(p peer, watch *stopwatch, state string, args []string) (*process.Process, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, errors.New("java is not on PATH: install Java 17 or later")
	}
	log, err := b.openLog(p.variant)
	if err != nil {
		return nil, err
	}
	target := filepath.Join(b.peers, "peers", p.module, "target")
	classes := filepath.Join(target, "classes") + string(filepath.ListSeparator) + filepath.Join(target, "lib", "*")
	// Flink leaves a library and a folder in each run's temporary folder.
	temporary := filepath.Join(state, "tmp")
	if err := os.MkdirAll(temporary, 0o755); err != nil {
		return nil, err
	}
	command := append([]string{peerHeapMin, peerHeapMax, peerLogLevel, "-Djava.io.tmpdir=" + temporary}, p.java...)
	command = append(append(command, "-cp", classes, p.main), args...)
	return process.Start(process.Command{
		Path: java, Args: command,
		Output: &spotter{next: log, on: map[string]func(string){peerFirstRecord: func(string) { watch.begun() }}},
	})
}

func inputNames() []string {
	names := make([]string, 0, len(inputs))
	for _, t := range inputs {
		names = append(names, t.Name)
	}
	return names
}
