/** `quorate check`: whether a cluster is fast enough for a load. */
import { type Command, Option } from "commander";
import { LOADS, type Load } from "../check-perf.ts";
import { Ended, fail } from "../exit.ts";
import { example, globalsOf, parseDuration } from "../globals.ts";

interface PerfOptions {
  readonly load: string;
  readonly prefix: string;
  readonly autoCompact?: boolean;
  readonly autoDefrag?: boolean;
  readonly duration: number;
}

export function registerCheck(program: Command): void {
  const check = program
    .command("check")
    .description("check that a cluster is fast enough")
    .addHelpText("after", example("$ quorate check perf --load m"));

  check
    .command("perf")
    .description("write for a minute at a load's rate, and judge throughput and latency")
    .option("--load <load>", "s (small), m (medium), l (large) or xl (xLarge)", "s")
    .option(
      "--prefix <prefix>",
      "where it writes; must hold no keys, and is emptied afterwards",
      "/etcdctl-check-perf/",
    )
    .option("--auto-compact", "compact afterwards")
    .option("--auto-defrag", "taken and ignored: there is nothing to defragment")
    .addOption(new Option("--duration <duration>", "how long to write").argParser(parseDuration).default(60_000, "1m"))
    .addHelpText(
      "after",
      example("$ quorate check perf --load s --prefix /check/", "$ quorate check perf --duration 10s"),
    )
    .action(async (options: PerfOptions, command: Command) => {
      const globals = globalsOf(command);
      const load: Load | undefined = Object.hasOwn(LOADS, options.load) ? LOADS[options.load] : undefined;
      if (load === undefined) fail("badFeature", `unknown load option ${options.load}`);
      if (options.prefix === "") fail("badArguments", "give a prefix: everything below it is deleted afterwards");
      if (options.autoDefrag === true) {
        process.stderr.write("--auto-defrag: quorate gives space back by itself, there is nothing to defragment\n");
      }
      const { checkPerf } = await import("../check-perf-run.ts");
      const passed = await checkPerf(globals, {
        ...{ load, prefix: options.prefix, durationMs: options.duration, compact: options.autoCompact === true },
      });
      if (!passed) throw new Ended(1);
    });
}
