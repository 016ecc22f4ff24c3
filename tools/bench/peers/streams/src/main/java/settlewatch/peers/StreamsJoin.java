package settlewatch.peers;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The join on Kafka Streams: the Processor API, two RocksDB stores with changelogs, stream-time punctuation.
 *
 * <p>Bytes go in and out of the stores as they are. The record cache is off: every payment is written a few
 * times only and long after each other, so the cache would cost more than it saves.
 */
public final class StreamsJoin {
  private static final String PAYMENTS = "payments";
  private static final String TIMERS = "timers";

  public static void main(String[] args) throws InterruptedException {
    Job job = new Job(args);
    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, job.option("application"));
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, job.option("bootstrap"));
    p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, job.option("guarantee"));
    p.put(StreamsConfig.STATE_DIR_CONFIG, job.option("state-dir"));
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, job.option("threads"));
    p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
    p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), "65536");

    KafkaStreams streams = new KafkaStreams(topology(job.inputs(), job.option("output")), p);
    CountDownLatch failed = new CountDownLatch(1);
    streams.setUncaughtExceptionHandler(cause -> {
      cause.printStackTrace();
      failed.countDown();
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
    streams.start();
    failed.await(); // else it runs until it is asked to end
    System.exit(1);
  }

  private static Topology topology(String[] inputs, String output) {
    return new Topology()
        .addSource("events", new ByteArrayDeserializer(), new ByteArrayDeserializer(), inputs)
        .addProcessor("join", Join::new, "events")
        .addStateStore(store(PAYMENTS), "join")
        .addStateStore(store(TIMERS), "join")
        .addSink("alerts", output, new ByteArraySerializer(), new ByteArraySerializer(), "join");
  }

  private static StoreBuilder<KeyValueStore<byte[], byte[]>> store(String name) {
    return Stores.keyValueStoreBuilder(
        Stores.persistentKeyValueStore(name), Serdes.ByteArray(), Serdes.ByteArray()).withCachingDisabled();
  }

  /** A timer is a key of its store: its time, big-endian, then the payment. So they lie in the order of time. */
  private static final class Join implements Processor<byte[], byte[], byte[], byte[]> {
    private static final Duration LOOK_EVERY = Duration.ofSeconds(5);
    private static final byte[] EMPTY = {};

    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], byte[]> payments;
    private KeyValueStore<byte[], byte[]> timers;
    /** There is no timer before this: a scan that began at zero would walk over the graves of all earlier ones. */
    private long firstTimer;

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
      this.context = context;
      payments = context.getStateStore(PAYMENTS);
      timers = context.getStateStore(TIMERS);
      context.schedule(LOOK_EVERY, PunctuationType.STREAM_TIME, this::fire);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      Job.takesRecord();
      Event event;
      try {
        event = Event.read(record.value(), record.timestamp());
      } catch (IOException cause) {
        throw new UncheckedIOException(cause);
      }
      if (event.type == Event.MARK) return; // stream time has moved by it
      byte[] key = record.key();
      Payment payment = Payment.decode(payments.get(key));
      byte[] alert = payment.take(event);
      if (alert != null) context.forward(new Record<>(key, alert, record.timestamp()));
      if (payment.timer == 0 || payment.due < payment.timer) {
        if (payment.timer != 0) timers.delete(timerKey(payment.timer, key));
        set(payment, key);
      }
      payments.put(key, payment.encode());
    }

    private void set(Payment payment, byte[] key) {
      payment.timer = payment.due;
      timers.put(timerKey(payment.timer, key), EMPTY);
      firstTimer = Math.min(firstTimer, payment.timer);
    }

    private void fire(long now) {
      List<byte[]> fired = new ArrayList<>();
      try (KeyValueIterator<byte[], byte[]> due = timers.range(timerKey(firstTimer, EMPTY), timerKey(now, EMPTY))) {
        while (due.hasNext()) fired.add(due.next().key);
      }
      firstTimer = now;
      for (byte[] timer : fired) {
        timers.delete(timer);
        byte[] key = new byte[timer.length - Long.BYTES];
        System.arraycopy(timer, Long.BYTES, key, 0, key.length);
        byte[] state = payments.get(key);
        if (state != null) look(key, Payment.decode(state), now);
      }
    }

    private void look(byte[] key, Payment payment, long now) {
      if (payment.due >= now) {
        set(payment, key);
        payments.put(key, payment.encode());
        return;
      }
      byte[] alert = payment.overdue(new String(key, StandardCharsets.ISO_8859_1));
      if (alert != null) context.forward(new Record<>(key, alert, now));
      payments.delete(key);
    }

    private static byte[] timerKey(long at, byte[] payment) {
      return ByteBuffer.allocate(Long.BYTES + payment.length).putLong(at).put(payment).array();
    }
  }

  private StreamsJoin() {}
}
