/** `/health`, `/livez`, `/readyz`, `/metrics` and `/version` with etcd's bodies (etcd-semantics sections 12.4 to 12.6). */
import { VERSION } from "../base/version.ts";
import type { HttpAnswer } from "../transport/network.ts";

export interface HealthSource {
  /** In capitals, as in the body. */
  alarms(): readonly string[];
  hasLeader(): boolean;
  isLearner(): boolean;
  read(serializable: boolean): Promise<void>;
  metrics(): Promise<string>;
}

const TEXT = "text/plain; charset=utf-8";
const JSON_TYPE = "application/json";

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export async function healthAnswer(method: string, path: string, source: HealthSource): Promise<HttpAnswer> {
  const [route = "", query = ""] = path.split("?", 2);
  const parameters = new URLSearchParams(query);
  if (method !== "GET") return { status: 405, contentType: TEXT, body: "Method Not Allowed\n" };
  if (route === "/health") return health(parameters, source);
  if (route === "/metrics")
    return { status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: await source.metrics() };
  if (route === "/version") {
    return { status: 200, contentType: JSON_TYPE, body: JSON.stringify({ etcdserver: VERSION, etcdcluster: VERSION }) };
  }
  const probe = /^\/(livez|readyz)(?:\/([a-z_]+))?$/.exec(route);
  if (probe === null) return { status: 404, contentType: TEXT, body: "404 page not found\n" };
  return probeAnswer(probe[1] === "readyz", probe[2], parameters, source);
}

async function health(parameters: URLSearchParams, source: HealthSource): Promise<HttpAnswer> {
  const serializable = parameters.get("serializable") === "true";
  const excluded = new Set(parameters.getAll("exclude"));
  const alarm = source.alarms().find((name) => !excluded.has(name));
  let reason = alarm === undefined ? "" : `ALARM ${alarm}`;
  if (reason === "" && !serializable && !source.hasLeader()) reason = "RAFT NO LEADER";
  if (reason === "") {
    try {
      await source.read(serializable);
    } catch (error) {
      reason = `RANGE ERROR:${text(error)}`;
    }
  }
  if (reason !== "")
    return { status: 503, contentType: TEXT, body: `${JSON.stringify({ health: "false", reason })}\n` };
  return { status: 200, contentType: JSON_TYPE, body: JSON.stringify({ health: "true", reason }) };
}

async function probeAnswer(
  ready: boolean,
  only: string | undefined,
  parameters: URLSearchParams,
  source: HealthSource,
): Promise<HttpAnswer> {
  const all: Record<string, () => Promise<void>> = { serializable_read: () => source.read(true) };
  if (ready) {
    all.data_corruption = async () => {
      if (source.alarms().includes("CORRUPT")) throw new Error("alarm activated: CORRUPT");
    };
    all.linearizable_read = () => source.read(false);
    all.non_learner = async () => {
      if (source.isLearner()) throw new Error("not supported for learner");
    };
  }
  const excluded = new Set(parameters.getAll("exclude"));
  const names = Object.keys(all).filter((name) => (only === undefined || name === only) && !excluded.has(name));
  if (only !== undefined && !(only in all)) return { status: 404, contentType: TEXT, body: "404 page not found\n" };
  let failed = false;
  let lines = "";
  for (const name of names) {
    try {
      await all[name]!();
      lines += `[+]${name} ok\n`;
    } catch (error) {
      failed = true;
      lines += `[-]${name} failed: ${text(error)}\n`;
    }
  }
  if (failed) return { status: 503, contentType: TEXT, body: `${lines}\n` };
  return { status: 200, contentType: TEXT, body: parameters.has("verbose") ? `${lines}ok\n` : "ok\n" };
}
