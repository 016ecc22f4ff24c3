package settlewatch.peers;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/**
 * The rule and the state of one payment, the same for both frameworks.
 *
 * <p>Captured and without a settlement for {@link #DEADLINE_MS}: paid_unsettled. A second settlement with
 * another event id: settled_twice. A payment is forgotten at its deadline, or {@link #KEEP_SETTLED_MS}
 * after its last settlement.
 *
 * <p>It has one timer. That is moved only to an earlier time; where the time became later, the timer fires
 * too early and is set again. So a payment costs about two writes of timers, not one for each event.
 */
public final class Payment {
  static final long DEADLINE_MS = 86_400_000;
  static final long KEEP_SETTLED_MS = 600_000;
  private static final int FIXED_BYTES = 50;

  private boolean captured;
  private byte settlements;
  private long amountMinor;
  private long capturedAt;
  private long settledAt;
  private long firstSettlement;
  private byte[] merchant = {};

  /** When the payment must be looked at. */
  public long due;
  /** When its timer fires; 0 without one. */
  public long timer;

  /** Takes an event in. Returns the alert that it raises, or null. */
  public byte[] take(Event event) {
    merchant = event.merchantId.getBytes(StandardCharsets.ISO_8859_1);
    byte[] alert = null;
    switch (event.type) {
      case Event.AUTHORIZATION -> amountMinor = event.amountMinor;
      case Event.CAPTURE -> {
        captured = true;
        capturedAt = event.timeMs;
        amountMinor = event.amountMinor;
      }
      default -> alert = settle(event);
    }
    if (!captured) due = event.timeMs + DEADLINE_MS;
    else if (settlements == 0) due = capturedAt + DEADLINE_MS;
    else due = Math.max(capturedAt, settledAt) + KEEP_SETTLED_MS;
    return alert;
  }

  private byte[] settle(Event event) {
    settledAt = Math.max(settledAt, event.timeMs);
    long id = hash(event.eventId);
    if (settlements == 0) {
      settlements = 1;
      firstSettlement = id;
    } else if (settlements == 1 && id != firstSettlement) {
      settlements = 2;
      return alert("settled_twice", event.paymentId);
    }
    return null;
  }

  /** The alert of a payment that is due, or null. */
  public byte[] overdue(String paymentId) {
    return captured && settlements == 0 ? alert("paid_unsettled", paymentId) : null;
  }

  private byte[] alert(String type, String paymentId) {
    String json = "{\"type\":\"" + type + "\",\"payment_id\":\"" + paymentId
        + "\",\"merchant_id\":\"" + new String(merchant, StandardCharsets.ISO_8859_1)
        + "\",\"amount_minor\":" + amountMinor + ",\"captured_at\":" + capturedAt + "}";
    return json.getBytes(StandardCharsets.ISO_8859_1);
  }

  public byte[] encode() {
    return ByteBuffer.allocate(FIXED_BYTES + merchant.length)
        .put((byte) (captured ? 1 : 0)).put(settlements)
        .putLong(amountMinor).putLong(capturedAt).putLong(settledAt).putLong(firstSettlement)
        .putLong(due).putLong(timer)
        .put(merchant).array();
  }

  /** The inverse of encode; null is a payment of which nothing is known. */
  public static Payment decode(byte[] state) {
    Payment payment = new Payment();
    if (state == null) return payment;
    ByteBuffer in = ByteBuffer.wrap(state);
    payment.captured = in.get() == 1;
    payment.settlements = in.get();
    payment.amountMinor = in.getLong();
    payment.capturedAt = in.getLong();
    payment.settledAt = in.getLong();
    payment.firstSettlement = in.getLong();
    payment.due = in.getLong();
    payment.timer = in.getLong();
    payment.merchant = new byte[in.remaining()];
    in.get(payment.merchant);
    return payment;
  }

  /** FNV-1a: 8 bytes instead of the id. */
  private static long hash(String id) {
    long hash = 0xcbf29ce484222325L;
    for (int i = 0; i < id.length(); i++) hash = (hash ^ id.charAt(i)) * 0x100000001b3L;
    return hash;
  }
}
