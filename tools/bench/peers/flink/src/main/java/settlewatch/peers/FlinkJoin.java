package settlewatch.peers;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * The join on Flink: a keyed process function with one value state and event-time timers, checkpointed every
 * five seconds, in a cluster inside of this process.
 *
 * <p>With RocksDB the state lies on the disk and the timers on the heap, which is faster than timers in
 * RocksDB; with hashmap everything lies on the heap.
 */
public final class FlinkJoin {
  public static void main(String[] args) throws Exception {
    Job job = new Job(args);
    StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(
        Integer.parseInt(job.option("threads")), configuration(job));
    KafkaSource<Event> source = KafkaSource.<Event>builder()
        .setBootstrapServers(job.option("bootstrap"))
        .setTopics(job.inputs())
        .setGroupId(job.option("application"))
        .setStartingOffsets(OffsetsInitializer.earliest())
        .setDeserializer(new EventReader())
        .build();
    KafkaSink<Alert> sink = KafkaSink.<Alert>builder()
        .setBootstrapServers(job.option("bootstrap"))
        .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
        .setProperty("compression.type", "lz4")
        .setRecordSerializer(new AlertWriter(job.option("output")))
        .build();
    // Each partition has a watermark of its own; the least counts. The record's timestamp is event time.
    env.fromSource(source, WatermarkStrategy.forBoundedOutOfOrderness(Duration.ofSeconds(5)), "events")
        .filter(event -> event.type != Event.MARK)
        .keyBy(event -> event.paymentId)
        .process(new Join())
        .sinkTo(sink);
    env.execute(job.option("application"));
  }

  private static Configuration configuration(Job job) {
    Path state = Path.of(job.option("state-dir")).toAbsolutePath();
    Configuration c = new Configuration();
    c.setString("state.backend.type", job.option("backend"));
    c.setString("state.backend.rocksdb.localdir", state.resolve("local").toString());
    c.setString("state.backend.rocksdb.timer-service.factory", "HEAP");
    c.setString("execution.checkpointing.dir", state.resolve("checkpoints").toUri().toString());
    c.setString("execution.checkpointing.interval", "5 s");
    c.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
    c.setString("execution.checkpointing.incremental", "true");
    c.setString("taskmanager.memory.managed.size", "512m");
    c.setString("pipeline.object-reuse", "true"); // nothing keeps an event that it was given
    c.setString("restart-strategy.type", "none"); // a run that failed is void
    return c;
  }

  /** An alert on its way out. */
  public static class Alert {
    public String paymentId;
    public byte[] json;
  }

  private static final class EventReader implements KafkaRecordDeserializationSchema<Event> {
    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Event> out) throws IOException {
      Job.takesRecord();
      out.collect(Event.read(record.value(), record.timestamp()));
    }

    @Override
    public TypeInformation<Event> getProducedType() {
      return TypeInformation.of(Event.class);
    }
  }

  private static final class AlertWriter implements KafkaRecordSerializationSchema<Alert> {
    private final String topic;

    AlertWriter(String topic) {
      this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(Alert alert, KafkaSinkContext context, Long timestamp) {
      return new ProducerRecord<>(topic, alert.paymentId.getBytes(StandardCharsets.ISO_8859_1), alert.json);
    }
  }

  private static final class Join extends KeyedProcessFunction<String, Event, Alert> {
    private transient ValueState<byte[]> state;

    @Override
    public void open(OpenContext context) {
      state = getRuntimeContext().getState(new ValueStateDescriptor<>(
          "payment", PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO));
    }

    @Override
    public void processElement(Event event, Context context, Collector<Alert> out) throws IOException {
      Payment payment = Payment.decode(state.value());
      emit(event.paymentId, payment.take(event), out);
      if (payment.timer == 0 || payment.due < payment.timer) {
        if (payment.timer != 0) context.timerService().deleteEventTimeTimer(payment.timer);
        set(payment, context);
      }
      state.update(payment.encode());
    }

    @Override
    public void onTimer(long at, OnTimerContext context, Collector<Alert> out) throws IOException {
      byte[] value = state.value();
      if (value == null) return;
      Payment payment = Payment.decode(value);
      if (payment.due > at) {
        set(payment, context);
        state.update(payment.encode());
        return;
      }
      emit(context.getCurrentKey(), payment.overdue(context.getCurrentKey()), out);
      state.clear();
    }

    private static void set(Payment payment, Context context) {
      payment.timer = payment.due;
      context.timerService().registerEventTimeTimer(payment.timer);
    }

    private static void emit(String paymentId, byte[] json, Collector<Alert> out) {
      if (json == null) return;
      Alert alert = new Alert();
      alert.paymentId = paymentId;
      alert.json = json;
      out.collect(alert);
    }
  }

  private FlinkJoin() {}
}
