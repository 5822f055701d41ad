/** Follows one key as a typed value: `quorate put config/feature '{"enabled":true,"percentage":10,"region":"eu"}'`. */
import { ConfigWatcher, connect } from "quorate";
import * as v from "valibot";

const FeatureConfig = v.object({
  enabled: v.boolean(),
  percentage: v.pipe(v.number(), v.minValue(0), v.maxValue(100)),
  region: v.string(),
});

await using client = await connect({ endpoints: (process.env.QUORATE_ENDPOINTS ?? "127.0.0.1:7400").split(",") });
await using config = await ConfigWatcher.open(client, "config/feature", FeatureConfig);
process.once("SIGTERM", () => void config.close());

for await (const update of config.updates()) {
  if (update.kind === "value") {
    const { enabled, percentage, region } = update.value;
    console.log(enabled ? `on for ${percentage} % in ${region}` : "off");
  } else if (update.kind === "invalid") {
    console.log(`not valid (${update.error.details.revision}), still ${config.current?.percentage ?? "without a"} %`);
  } else {
    console.log("nothing is configured");
  }
}
