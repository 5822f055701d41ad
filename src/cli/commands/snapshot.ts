/** `quorate snapshot`: a member's state into a file, what a file holds, and data directories out of it. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { StaticMember } from "../../server/options.ts";
import { CommandError, errorLine, fail } from "../exit.ts";
import { commaList, example, globalsOf, wholeNumber, withClient } from "../globals.ts";
import { environmentName } from "../settings.ts";

interface RestoreFlags {
  readonly dataDir?: string;
  readonly name?: string;
  readonly initialCluster?: readonly StaticMember[];
  readonly initialClusterToken?: string;
  readonly initialAdvertisePeerUrls?: string;
  readonly config?: string;
  readonly bumpRevision?: number;
  readonly markCompacted?: boolean;
}

/** `n1=ws://127.0.0.1:7401,n2=...`, as etcd's. */
function parseMembers(text: string): readonly StaticMember[] {
  return commaList(text).map((item) => {
    const equals = item.indexOf("=");
    const [name, peerUrl] = [item.slice(0, equals), item.slice(equals + 1)];
    if (equals < 1 || peerUrl === "") throw new InvalidArgumentError("Write name=ws://host:port,name=ws://host:port.");
    return { name, peerUrl };
  });
}

export function registerSnapshot(program: Command): void {
  const snapshot = program
    .command("snapshot")
    .description("save a member's state to a file, look into the file, restore a cluster from it")
    .addHelpText(
      "after",
      example("$ quorate snapshot save backup.snap", "$ quorate snapshot status backup.snap -w table"),
    );

  snapshot
    .command("save")
    .description("save one member's state to a file; with several endpoints named, name the one")
    .argument("<file>")
    .addHelpText("after", example("$ quorate snapshot save backup.snap --endpoints 127.0.0.1:7400"))
    .action(async (file: string, _options: object, command: Command) => save(file, command));

  snapshot
    .command("status")
    .description("verify a file and say what it holds: hash, revision, total keys, total size, version")
    .argument("<file>")
    .addHelpText("after", example("$ quorate snapshot status backup.snap -w table"))
    .action(async (file: string, _options: object, command: Command) => {
      const globals = globalsOf(command);
      const [{ snapshotStatus }, { printSnapshot }] = await Promise.all([
        import("../../node/snapshot.ts"),
        import("../print.ts"),
      ]);
      printSnapshot(globals, await snapshotStatus(file));
    });

  snapshot
    .command("restore")
    .description("make the data directory of a member of a new cluster, or with --config of all its members")
    .argument("<file>")
    .option("--data-dir <dir>", "the new directory (the file's <dir>/<name>, or quorate-data/<name>)")
    .option("--name <name>", 'the member\'s name ("default")')
    .addOption(new Option("--initial-cluster <list>", "all members, as name=peer-url,...").argParser(parseMembers))
    .option("--initial-cluster-token <text>", "tells the new cluster from the old one: not the token it had")
    .option("--initial-advertise-peer-urls <url>", "this member's address in --initial-cluster")
    .addOption(
      new Option("--config <file>", "cluster.config.json of the new cluster, instead of the flags").env(
        environmentName("config"),
      ),
    )
    .addOption(
      new Option("--bump-revision <n>", "move the revision on by so much (1000000000); 0 keeps it").argParser(
        wholeNumber(0),
      ),
    )
    .option("--mark-compacted", "mark what is below as compacted; always done with a bump")
    .addHelpText(
      "after",
      example(
        "$ quorate snapshot restore backup.snap --data-dir data/restored",
        "$ quorate snapshot restore backup.snap --config restored.config.json",
        "$ quorate snapshot restore backup.snap --name n1 --data-dir data/n1 --initial-cluster n1=ws://10.0.0.1:7401,n2=ws://10.0.0.2:7401,n3=ws://10.0.0.3:7401 --initial-cluster-token second",
      ),
    )
    .action(async (file: string, options: RestoreFlags) => restore(file, options));
}

async function save(file: string, command: Command): Promise<void> {
  const globals = globalsOf(command);
  const named = command.getOptionValueSourceWithGlobals("endpoints") !== "default";
  const { endpoints } = globals;
  if (named && endpoints.length > 1) {
    fail("badArguments", `snapshot must be requested to one selected node, not multiple [${endpoints.join(" ")}]`);
  }
  const limited = command.getOptionValueSourceWithGlobals("commandTimeout") !== "default";
  const [{ saveSnapshot }, { ProgressBar }, { humanBytes }] = await Promise.all([
    import("../../node/snapshot.ts"),
    import("../progress.ts"),
    import("../output.ts"),
  ]);
  await withClient(globals, async (client, { signal, timeoutMs }) => {
    const bar = new ProgressBar(humanBytes);
    try {
      const saved = await saveSnapshot(client, file, {
        // Named, it gives its state also where it serves nothing else any more.
        endpoint: named ? endpoints[0] : undefined,
        signal: limited ? AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) : signal,
        onProgress: (bytes, aboutBytes) => bar.show(bytes, aboutBytes),
      });
      bar.end();
      process.stdout.write(`Snapshot saved at ${file}\nServer version ${saved.serverVersion}\n`);
    } catch (error) {
      bar.end();
      // etcdctl's code, whatever the reason.
      throw new CommandError("interrupted", errorLine(error).replace(/^Error: /, ""));
    }
  });
}

async function restore(file: string, options: RestoreFlags): Promise<void> {
  const { bumpRevision, markCompacted } = options;
  const [{ requireNewDir, restoreSnapshot }, { formatId }] = await Promise.all([
    import("../../node/snapshot.ts"),
    import("../../base/ids.ts"),
  ]);
  const places = await placesOf(options);
  // All or none, as far as can be told beforehand.
  for (const { dir } of places) await requireNewDir(dir);
  for (const { name, dir, peers, token } of places) {
    const { memberId, clusterId, revision } = await restoreSnapshot({
      ...{ file, dir, name, peers, token, bumpRevision },
      ...(markCompacted === true ? { markCompacted } : {}),
    });
    process.stderr.write(
      `restored member ${name} (${formatId(memberId)}, cluster ${formatId(clusterId)}) at revision ${revision} into ${dir}\n`,
    );
  }
}

interface Place {
  readonly name: string;
  readonly dir: string;
  readonly peers: readonly StaticMember[] | undefined;
  readonly token: string | undefined;
}

async function placesOf(options: RestoreFlags): Promise<readonly Place[]> {
  const { resolve } = await import("node:path");
  const { config, initialCluster, initialClusterToken: token, dataDir, name } = options;
  if (config !== undefined && initialCluster !== undefined) {
    fail("badArguments", "--config and --initial-cluster exclude each other");
  }
  if (config !== undefined) {
    const { readClusterConfig, resolveCluster } = await import("../config.ts");
    const cluster = resolveCluster({ config, token }, readClusterConfig(config));
    const peers = cluster.members.map((member) => ({
      ...{ name: member.name, peerUrl: member.peerUrl, clientUrl: member.clientUrl },
    }));
    const chosen = cluster.members.filter((member) => name === undefined || member.name === name);
    if (chosen.length === 0) {
      fail("badArguments", `${config} has no member "${name}" (it has ${peers.map((peer) => peer.name).join(", ")})`);
    }
    if (dataDir !== undefined && name === undefined)
      fail("badArguments", "--data-dir is one member's: give its --name");
    return chosen.map((member) => ({
      ...{ name: member.name, peers, token: cluster.token },
      dir: dataDir === undefined ? member.dir : resolve(dataDir),
    }));
  }
  const own = name ?? "default";
  const dir = resolve(dataDir ?? `quorate-data/${own}`);
  if (initialCluster === undefined) return [{ name: own, dir, peers: undefined, token: undefined }];
  const advertised = options.initialAdvertisePeerUrls;
  const listed = initialCluster.find((member) => member.name === own)?.peerUrl;
  if (listed === undefined) fail("badArguments", `--initial-cluster has no member "${own}"`);
  if (advertised !== undefined && advertised !== listed) {
    fail("badArguments", `--initial-cluster has ${own}=${listed} but should have ${own}=${advertised}`);
  }
  const { DEFAULT_TOKEN } = await import("../config.ts");
  return [{ name: own, dir, peers: initialCluster, token: token ?? DEFAULT_TOKEN }];
}
