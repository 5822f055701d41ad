/** `quorate server`: one member in the foreground. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { NodeOptions } from "../../node/node.ts";
import { fail } from "../exit.ts";
import { commaList, example } from "../globals.ts";
import { addSettings, setting, settingsOf } from "../settings.ts";

type Peers = NonNullable<NodeOptions["peers"]>;

/** `n1=ws://127.0.0.1:7401,n2=...`, as etcd's --initial-cluster. */
function parsePeers(text: string): Peers {
  return commaList(text).map((item) => {
    const [name, peerUrl] = [item.slice(0, item.indexOf("=")), item.slice(item.indexOf("=") + 1)];
    if (!item.includes("=") || name === "" || peerUrl === "") {
      throw new InvalidArgumentError("Write name=ws://host:port,name=ws://host:port.");
    }
    return { name, peerUrl };
  });
}

/** `ws://127.0.0.1:7403=ws://127.0.0.1:9000,...` */
function parseReroute(text: string): Readonly<Record<string, string>> {
  const pairs = commaList(text).map((item) => {
    const [from = "", to = "", ...more] = item.split("=");
    if (!URL.canParse(from) || !URL.canParse(to) || more.length > 0) {
      throw new InvalidArgumentError("Write ws://host:port=ws://host:port,....");
    }
    return [from, to] as const;
  });
  return Object.fromEntries(pairs);
}

export function registerServer(program: Command): void {
  const command = program
    .command("server")
    .description("run one member in the foreground, until Ctrl-C")
    .addOption(setting("name", "<name>", "this member's name in the cluster"))
    .addOption(setting("dir", "<dir>", "this member's own data directory (<dir of the file>/<name>)"))
    .addOption(
      setting(
        "listen-client-url",
        "<url>",
        "where to listen for clients, such as ws://127.0.0.1:7400 (port 0: a free one)",
      ),
    )
    .addOption(setting("listen-peer-url", "<url>", "where to listen for the other members"))
    .addOption(setting("initial-cluster", "<list>", "all members, as name=peer-url,...").argParser(parsePeers))
    .addOption(
      setting("join", "<endpoints>", "join the running cluster at these endpoints, after `member add`").argParser(
        commaList,
      ),
    )
    .addOption(
      setting(
        "reroute",
        "<list>",
        "dial other members elsewhere, as peer-url=url,...: through a proxy or a tunnel",
      ).argParser(parseReroute),
    )
    .option(
      "--skip-wait-for-peers",
      "this member never held data: do not wait for every other member at the first start",
    )
    .option("--json", "print the ready line on stdout as one JSON object")
    .addOption(new Option("--launched").hideHelp());
  addSettings(command)
    .addHelpText(
      "after",
      example(
        "$ quorate server --name n1 --config cluster.config.json",
        "$ quorate server --name n4 --dir data/n4 --join 127.0.0.1:7400 --listen-client-url ws://127.0.0.1:7406 --listen-peer-url ws://127.0.0.1:7407",
      ),
    )
    .action(async (options: Record<string, unknown>) => {
      const { DEFAULT_TOKEN, readClusterConfig, readSecret, resolveCluster } = await import("../config.ts");
      const settings = settingsOf(options);
      const file = settings.config === undefined ? undefined : readClusterConfig(settings.config);
      const cluster = file === undefined ? undefined : resolveCluster(settings, file);
      const named = options.name as string | undefined;
      const join = options.join as readonly string[] | undefined;
      const initial = options.initialCluster as Peers | undefined;
      if (named === undefined && (cluster ?? join ?? initial) !== undefined) {
        fail("badArguments", "give this member's name with --name");
      }
      const name = named ?? "default";
      if (join !== undefined && initial !== undefined)
        fail("badArguments", "--join and --initial-cluster exclude each other");
      const own = cluster?.members.find((member) => member.name === name);
      if (cluster !== undefined && own === undefined && join === undefined) {
        const names = cluster.members.map((member) => member.name).join(", ");
        fail("badArguments", `${settings.config} has no member "${name}" (it has ${names})`);
      }
      const { resolve } = await import("node:path");
      const { dir, listenClientUrl, listenPeerUrl } = options as Record<string, string | undefined>;
      const alone = initial === undefined && cluster === undefined;
      const secretFile = cluster?.secretFile ?? settings.secretFile;
      // Checked with the file above; without one, the same rules hold.
      const { numbers, autoCompaction, allowedOrigins, logLevel } = cluster ?? resolveCluster(settings, undefined);
      const peers = initial ?? cluster?.members.map(({ name, peerUrl, clientUrl }) => ({ name, peerUrl, clientUrl }));
      const clientUrl = listenClientUrl ?? own?.clientUrl ?? "ws://127.0.0.1:7400";
      const peerUrl = listenPeerUrl ?? own?.peerUrl ?? initial?.find((peer) => peer.name === name)?.peerUrl;
      if (initial !== undefined && peerUrl === undefined)
        fail("badArguments", `--initial-cluster has no member "${name}"`);
      if (join !== undefined && peerUrl === undefined) fail("badArguments", "a joining member needs --listen-peer-url");

      const { runMember } = await import("../member.ts");
      await runMember({
        name,
        logLevel,
        json: options.json === true,
        launched: options.launched === true,
        node: {
          name,
          dir: dir === undefined ? (own?.dir ?? resolve("quorate-data", name)) : resolve(dir),
          listenClientUrl: clientUrl,
          ...(peerUrl === undefined ? {} : { listenPeerUrl: peerUrl }),
          ...(join === undefined ? {} : { join: { endpoints: join } }),
          ...(join !== undefined || alone || peers === undefined
            ? {}
            : { peers, token: cluster?.token ?? settings.token ?? DEFAULT_TOKEN }),
          ...(secretFile === undefined ? {} : { secret: readSecret(secretFile) }),
          ...(allowedOrigins === undefined ? {} : { allowedOrigins }),
          ...(options.reroute === undefined ? {} : { reroute: options.reroute as Readonly<Record<string, string>> }),
          ...(options.skipWaitForPeers === true ? { skipWaitForPeers: true } : {}),
          ...numbers,
          ...autoCompaction,
        },
      });
    });
}
