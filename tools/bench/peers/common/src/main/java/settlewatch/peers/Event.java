package settlewatch.peers;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import java.io.IOException;

/**
 * What the join needs of one record. Public fields and no argument: Flink's own serializer for plain
 * classes is several times faster than the general one, and asks for that.
 */
public class Event {
  /** A mark has no event in it; its time moves event time on. */
  public static final byte MARK = 0;

  public static final byte AUTHORIZATION = 1;
  public static final byte CAPTURE = 2;
  public static final byte SETTLEMENT = 3;

  private static final JsonFactory JSON = new JsonFactory();

  public byte type = MARK;
  public String eventId = "";
  public String paymentId = "";
  public String merchantId = "";
  public long amountMinor;
  public long timeMs;

  /** Reads a record's value; none is a mark. Event time is the record's timestamp. */
  public static Event read(byte[] value, long timeMs) throws IOException {
    Event event = new Event();
    event.timeMs = timeMs;
    if (value == null || value.length == 0) return event;
    try (JsonParser json = JSON.createParser(value)) {
      json.nextToken(); // the object begins
      for (String name = json.nextFieldName(); name != null; name = json.nextFieldName()) {
        json.nextToken();
        switch (name) {
          case "type" -> event.type = typeOf(json.getText());
          case "event_id" -> event.eventId = json.getText();
          case "payment_id" -> event.paymentId = json.getText();
          case "merchant_id" -> event.merchantId = json.getText();
          case "amount_minor" -> event.amountMinor = json.getLongValue();
          default -> json.skipChildren();
        }
      }
    }
    return event;
  }

  private static byte typeOf(String text) throws IOException {
    return switch (text) {
      case "authorization" -> AUTHORIZATION;
      case "capture" -> CAPTURE;
      case "settlement" -> SETTLEMENT;
      default -> throw new IOException("an event of type " + text);
    };
  }
}
