package settlewatch.peers;

import java.util.HashMap;
import java.util.Map;

/** What every job is told, as --name value, and what it tells: when it takes its first record in. */
public final class Job {
  private static volatile boolean begun;

  private final Map<String, String> options = new HashMap<>();

  public Job(String[] args) {
    for (int i = 0; i + 1 < args.length; i += 2) options.put(args[i], args[i + 1]);
  }

  public String option(String name) {
    String value = options.get("--" + name);
    if (value == null) throw new IllegalArgumentException("--" + name + " is missing");
    return value;
  }

  public String[] inputs() {
    return option("inputs").split(",");
  }

  /** Called for each record. The first starts the stopwatch of whoever reads our output. */
  public static void takesRecord() {
    if (begun) return;
    synchronized (Job.class) {
      if (!begun) System.out.println("first record");
      begun = true;
    }
  }
}
