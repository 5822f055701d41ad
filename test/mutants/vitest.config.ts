import { defineConfig } from "vitest/config";

/** For probes of single rules: no build before them. */
export default defineConfig({ test: { include: ["test/{raft,server,storage}/*.test.ts"], pool: "forks" } });
